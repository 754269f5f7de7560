package capture_test

import (
	"bytes"
	"errors"
	"testing"

	"repacket/internal/capture"
)

// FuzzReader reads any bytes: no panic, what comes out is what went in up to the place of the
// error, and what is written after an edit of nothing is the same again.
func FuzzReader(f *testing.F) {
	for _, form := range append(forms(f), mixed()) {
		f.Add(form.file)
	}
	f.Fuzz(func(t *testing.T, file []byte) {
		r, err := capture.NewReader(bytes.NewReader(file))
		if err != nil || len(file) > 1 && file[0] == 0x1f && file[1] == 0x8b {
			return
		}
		var b capture.Batch
		var all, edited []byte
		for err == nil {
			if err = r.Next(&b); err != nil {
				break
			}
			all = append(all, b.Bytes...)
			var edits []capture.Edit
			for i := range b.Packets {
				p := &b.Packets[i]
				if d := b.Data(p); len(d) > int(p.Length) {
					t.Fatalf("%d bytes of a packet of %d", len(d), p.Length)
				}
				b.Time(p)
				b.Options(p)
				b.Interface(p).Link.Network(b.Data(p), int(p.Length))
				if i%2 == 0 {
					edits = append(edits, capture.Edit{Packet: i, Drop: i%4 == 0, RemoveHash: true, Comment: "x"})
				}
			}
			edited = b.Edited(edited[:0], edits)
			if same := b.Edited(nil, nil); !bytes.Equal(same, b.Bytes) {
				t.Fatal("no edit changes the bytes")
			}
		}
		var damaged *capture.DamagedError
		if !bytes.HasPrefix(file, all) || errors.As(err, &damaged) && damaged.At != int64(len(all)) || !errors.As(err, &damaged) && len(all) != len(file) {
			t.Fatalf("%d of %d bytes came out: %v", len(all), len(file), err)
		}
	})
}
