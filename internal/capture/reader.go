package capture

import (
	"bufio"
	"bytes"
	"compress/gzip"
	"errors"
	"fmt"
	"io"

	"repacket/internal/pcapng"
)

// Sizes in bytes.
const (
	// batchSize is how much is read at once.
	batchSize = 256 << 10
	// largest is the longest block that is read as a whole. Longer ones of unknown kinds are
	// handed on in pieces; no packet is as long.
	largest = 4 << 20
)

// Reader reads a capture file batch by batch.
type Reader struct {
	from   io.Reader
	format Format
	// rest is what was read and not handed out: the beginning of a block, or all that follows
	// the piece of a long one.
	rest []byte
	// through is how many bytes of a long block are still to be handed on as they are.
	through uint64
	// at is the place of the next block in the file, packets how many were read.
	at      int64
	packets uint64
	err     error // what reading has led to
	order   pcapng.Order
	// Of pcap: the size of the header of a record.
	recordHeader int
	// interfaces are those of the section, pcap's only one.
	interfaces []*Interface
	started    bool
}

// NewReader reads the beginning of a capture file, which may be compressed by gzip. The
// errors are FormatError, and those of reading.
func NewReader(from io.Reader) (*Reader, error) {
	r := &Reader{}
	b := bufio.NewReaderSize(from, 4096)
	if magic, err := b.Peek(2); err == nil && magic[0] == 0x1f && magic[1] == 0x8b {
		z, err := gzip.NewReader(b)
		if err != nil {
			return nil, fmt.Errorf("gzip: %w", err)
		}
		b = bufio.NewReaderSize(z, 4096)
	}
	r.from = b
	magic, err := b.Peek(4)
	if len(magic) < 4 {
		if err == io.EOF {
			return nil, &FormatError{What: emptyOr(magic)}
		}
		return nil, err
	}
	if err := r.start([4]byte(magic)); err != nil {
		return nil, err
	}
	if r.format == PCAP {
		header, err := b.Peek(fileHeader)
		if err == io.EOF {
			return nil, &FormatError{What: "the beginning of one: its header is cut off"}
		}
		if err != nil {
			return nil, err
		}
		r.fileHeader(header)
	}
	return r, nil
}

func emptyOr(magic []byte) string {
	if len(magic) == 0 {
		return "an empty one"
	}
	return ""
}

// Format is that of the file.
func (r *Reader) Format() Format { return r.format }

// fileHeader is the size in bytes of the header of a file of the format pcap.
const fileHeader = 24

// Magic numbers of pcap, in the order of the file.
const (
	magicMicro    = 0xa1b2c3d4
	magicNano     = 0xa1b23c4d
	magicModified = 0xa1b2cd34 // records have 8 bytes more (Kuznetzov's patches to libpcap)
)

// otherFormats are the first bytes of files that are taken for capture files.
var otherFormats = []struct{ magic, what, hint string }{
	{"\x28\xb5\x2f\xfd", "compressed by zstd", "zstd -dc FILE | repacket -r - …"},
	{"\x04\x22\x4d\x18", "compressed by lz4", "lz4 -dc FILE | repacket -r - …"},
	{"\xfd7zX", "compressed by xz", "xz -dc FILE | repacket -r - …"},
	{"BZh", "compressed by bzip2", "bzip2 -dc FILE | repacket -r - …"},
	{"snoo", "of the format snoop", "editcap FILE FILE.pcapng makes one of it"},
	{"GMBU", "of the format of Network Monitor", "editcap FILE FILE.pcapng makes one of it"},
	{"RTSS", "of the format of Network Monitor", "editcap FILE FILE.pcapng makes one of it"},
}

// start tells the format by the first bytes.
func (r *Reader) start(magic [4]byte) error {
	if bigEndian.Uint32(magic[:]) == pcapng.SectionHeader {
		r.format, r.order = PCAPNG, littleEndian
		return nil
	}
	for _, order := range []pcapng.Order{littleEndian, bigEndian} {
		r.order, r.recordHeader = order, 16
		switch order.Uint32(magic[:]) {
		case magicMicro, magicNano:
			return nil
		case magicModified:
			r.recordHeader = 24
			return nil
		}
	}
	for _, o := range otherFormats {
		if bytes.HasPrefix(magic[:], []byte(o.magic)) {
			return &FormatError{o.what, o.hint}
		}
	}
	return &FormatError{}
}

// fileHeader reads the header of a file of the format pcap.
func (r *Reader) fileHeader(header []byte) {
	const fcsKnown, fcsShift, fcsUnit = 1 << 26, 28, 2
	i := &Interface{units: 1e6, SnapLength: r.order.Uint32(header[16:])}
	if r.order.Uint32(header) == magicNano {
		i.units = 1e9
	}
	link := r.order.Uint32(header[20:])
	i.Link = LinkType(link)
	if link&fcsKnown != 0 {
		i.FCS = int(link>>fcsShift) * fcsUnit
	}
	r.interfaces = []*Interface{i}
}

// Next reads the next part of the file into a batch, whose memory it uses again. It returns
// what there is without waiting for more. Behind the last part the error is io.EOF, a
// DamagedError, or that of reading.
func (r *Reader) Next(b *Batch) error {
	buffer := b.Bytes[:0]
	*b = Batch{Packets: b.Packets[:0], sections: b.sections[:0], First: r.packets, Interfaces: r.interfaces, format: r.format, order: r.order}
	if cap(buffer) < batchSize || cap(buffer) > 2*batchSize {
		buffer = make([]byte, 0, batchSize)
	}
	buffer = append(buffer, r.rest...)
	r.rest = r.rest[:0]
	for {
		done, want := r.parse(b, buffer)
		if done > 0 {
			b.Bytes = buffer[:done]
			r.rest = append(r.rest, buffer[done:]...)
			r.at += int64(done)
			return nil
		}
		if r.err != nil {
			return r.ended(b, buffer)
		}
		if len(buffer) == cap(buffer) { // a long block: as much again as has come
			buffer = append(make([]byte, 0, min(2*cap(buffer), max(want, cap(buffer)+1))), buffer...)
		}
		n, err := r.from.Read(buffer[len(buffer):cap(buffer)])
		buffer = buffer[:len(buffer)+n]
		if err != nil {
			r.err = err
		}
	}
}

// ended is the error behind the last part, of which the beginning of a block may be left.
func (r *Reader) ended(b *Batch, left []byte) error {
	b.Bytes = left[:0]
	var damaged *DamagedError
	if errors.As(r.err, &damaged) {
		return r.err
	}
	atEnd := errors.Is(r.err, io.EOF)
	if !atEnd && !errors.Is(r.err, io.ErrUnexpectedEOF) {
		return r.err
	}
	if len(left) == 0 && r.through == 0 && atEnd {
		return io.EOF
	}
	what := "a packet"
	if r.format == PCAPNG {
		what = "a block"
		if len(left) >= 4 && isPacket(r.order.Uint32(left)) {
			what = "a packet"
		}
	}
	return &DamagedError{Packets: r.packets, At: r.at, Cut: true, Why: what}
}

// damaged ends the file at a block.
func (r *Reader) damaged(ahead int, format string, args ...any) {
	r.err = &DamagedError{Packets: r.packets, At: r.at + int64(ahead), Why: fmt.Sprintf(format, args...)}
}

// parse finds the whole blocks at the start of b, up to done. If there is none it says how
// many bytes are wanted, or sets r.err.
func (r *Reader) parse(batch *Batch, b []byte) (done, want int) {
	if r.through > 0 {
		n := int(min(r.through, uint64(len(b))))
		r.through -= uint64(n)
		return n, batchSize
	}
	if r.format == PCAP {
		return r.records(batch, b)
	}
	return r.blocks(batch, b)
}

// records finds the whole records of a file of the format pcap.
func (r *Reader) records(batch *Batch, b []byte) (done, want int) {
	if !r.started {
		if len(b) < fileHeader {
			return 0, fileHeader
		}
		r.started, done = true, fileHeader
	}
	order := r.order
	for len(b)-done >= r.recordHeader {
		record := b[done:]
		captured, length := order.Uint32(record[8:]), order.Uint32(record[12:])
		if captured > largest {
			if done == 0 {
				r.damaged(0, "a packet claims to have %d bytes", captured)
			}
			return done, 0
		}
		end := done + r.recordHeader + int(captured)
		if end > len(b) {
			return done, end - done
		}
		batch.Packets = append(batch.Packets, Packet{
			Start: uint32(done), End: uint32(end), Data: uint32(done + r.recordHeader), Captured: captured, Length: max(length, captured),
		})
		r.packets++
		done = end
	}
	return done, r.recordHeader
}
