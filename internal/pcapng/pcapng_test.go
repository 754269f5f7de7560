package pcapng_test

import (
	"bytes"
	"encoding/binary"
	"encoding/hex"
	"strings"
	"testing"
	"time"

	"github.com/gopacket/gopacket/layers"
	"github.com/gopacket/gopacket/pcapgo"

	"repacket/internal/pcapng"
)

// capture is a section of one interface with one packet.
func capture(o pcapng.Order, at time.Time, data []byte, length uint32) []byte {
	b, start := pcapng.OpenSection(nil, o)
	b = pcapng.AppendText(b, o, pcapng.SectionApplication, "a test")
	b = pcapng.AppendEndOfOptions(b, o)
	b = pcapng.Close(b, o, start)
	b, start = pcapng.OpenInterface(b, o, 1, 262144)
	b = pcapng.AppendText(b, o, pcapng.InterfaceName, "eth1:before")
	b = pcapng.AppendOption(b, o, pcapng.InterfaceTimeRes, []byte{pcapng.TimeResNanoseconds})
	b = pcapng.AppendEndOfOptions(b, o)
	b = pcapng.Close(b, o, start)
	b, start = pcapng.OpenPacket(b, o, 0, uint64(at.UnixNano()), length, data)
	b = pcapng.AppendUint64Option(b, o, pcapng.PacketID, 7)
	b = pcapng.AppendEndOfOptions(b, o)
	return pcapng.Close(b, o, start)
}

// TestAnotherReader has another library read what is written. It reads options in the
// byte order of this machine only.
func TestAnotherReader(t *testing.T) {
	t.Parallel()
	at := time.Unix(1600000000, 123456789).UTC()
	data := []byte("not a frame, and of an odd length")
	r, err := pcapgo.NewNgReader(bytes.NewReader(capture(binary.LittleEndian, at, data, 60)), pcapgo.DefaultNgReaderOptions)
	if err != nil {
		t.Fatal(err)
	}
	if got := r.SectionInfo().Application; got != "a test" {
		t.Errorf("application %q", got)
	}
	got, ci, err := r.ReadPacketData()
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(got, data) || ci.Length != 60 || ci.CaptureLength != len(data) || !ci.Timestamp.Equal(at) {
		t.Errorf("%q, %+v", got, ci)
	}
	i, err := r.Interface(0)
	if err != nil || i.Name != "eth1:before" || i.LinkType != layers.LinkTypeEthernet || i.SnapLength != 262144 {
		t.Errorf("interface %+v, %v", i, err)
	}
}

// TestBytes compares with bytes made by hand from the draft's figures.
func TestBytes(t *testing.T) {
	t.Parallel()
	const bigEndianPacket = `
		00000006 00000034
		00000003 00000001 00000002 00000005 000005dc
		0102030405 000000
		0001 0003 61c3a9 00
		0000 0000
		00000034`
	b, start := pcapng.OpenPacket([]byte("before"), binary.BigEndian, 3, 1<<32|2, 1500, []byte{1, 2, 3, 4, 5})
	b = pcapng.AppendText(b, binary.BigEndian, pcapng.Comment, "aé")
	b = pcapng.Close(pcapng.AppendEndOfOptions(b, binary.BigEndian), binary.BigEndian, start)
	want, err := hex.DecodeString(strings.Join(strings.Fields(bigEndianPacket), ""))
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(b, append([]byte("before"), want...)) {
		t.Errorf("%x\nwant %x", b, want)
	}
}

// TestLongText: a text longer than its length field can say is cut, and the block stays whole.
func TestLongText(t *testing.T) {
	t.Parallel()
	o := binary.LittleEndian
	b, start := pcapng.OpenInterface(nil, o, 1, 0)
	b = pcapng.AppendText(b, o, pcapng.Comment, strings.Repeat("x", 70_000))
	b = pcapng.Close(pcapng.AppendEndOfOptions(b, o), o, start)
	if len(b)%4 != 0 || int(o.Uint32(b[4:])) != len(b) || int(o.Uint32(b[len(b)-4:])) != len(b) || o.Uint16(b[18:]) != 0xffff {
		t.Errorf("%d bytes: %x … %x", len(b), b[:24], b[len(b)-8:])
	}
}
