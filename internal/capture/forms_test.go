package capture_test

import (
	"bytes"
	"encoding/binary"
	"math"
	"testing"
	"time"

	"github.com/gopacket/gopacket"
	"github.com/gopacket/gopacket/layers"
	"github.com/gopacket/gopacket/pcapgo"
)

// packet is what a file of a test says of a packet.
type packet struct {
	data   []byte
	length int
	link   uint16
	at     time.Time // zero: the file does not say
	fcs    int
	hashed bool
}

// form is a file in one of the forms that capture files have.
type form struct {
	name    string
	file    []byte
	packets []packet
	// judged: other readers take the form as we do.
	judged bool
}

// frame is a UDP packet from port 1000 to 443 over IPv4, with a right checksum (RFC 768,
// by hand), and behind it so many zeros as payload.
func frame(payload int) []byte {
	length := 28 + payload
	f := []byte{
		2, 0, 0, 0, 0, 1, 2, 0, 0, 0, 0, 2, 8, 0,
		0x45, 0, byte(length >> 8), byte(length), 0, 1, 0, 0, 64, 17, 0, 0, 10, 0, 0, 1, 10, 0, 0, 2,
		0x03, 0xe8, 0x01, 0xbb, byte((8 + payload) >> 8), byte(8 + payload), 0, 0,
	}
	f = append(f, make([]byte, payload)...)
	put := func(at int, words ...uint32) {
		sum := uint32(0)
		for _, w := range words {
			sum += w
		}
		for sum > 0xffff {
			sum = sum>>16 + sum&0xffff
		}
		binary.BigEndian.PutUint16(f[at:], ^uint16(sum))
	}
	put(24, 0x4500, uint32(length), 1, 0x4011, 0x0a00, 1, 0x0a00, 2)
	put(40, 0x0a00, 1, 0x0a00, 2, 17, uint32(8+payload), 1000, 443, uint32(8+payload))
	return f
}

var start = time.Unix(1600000000, 0).UTC()

// byLibrary is a file of the format pcap by another library.
func byLibrary(t testing.TB, nanoseconds bool, all []packet) []byte {
	var b bytes.Buffer
	w := pcapgo.NewWriter(&b)
	if nanoseconds {
		w = pcapgo.NewWriterNanos(&b)
	}
	if err := w.WriteFileHeader(65535, layers.LinkTypeEthernet); err != nil {
		t.Fatal(err)
	}
	for _, p := range all {
		info := gopacket.CaptureInfo{Timestamp: p.at, CaptureLength: len(p.data), Length: p.length}
		if err := w.WritePacket(info, p.data); err != nil {
			t.Fatal(err)
		}
	}
	return b.Bytes()
}

// ngByLibrary is a file of the format pcapng by another library.
func ngByLibrary(t testing.TB, all []packet) []byte {
	var b bytes.Buffer
	i := pcapgo.NgInterface{
		Name: "eth0", Comment: "a comment", Description: "the first", Filter: "udp", OS: "Linux", LinkType: layers.LinkTypeEthernet,
		SnapLength: 2000, TimestampResolution: 9,
	}
	o := pcapgo.DefaultNgWriterOptions
	o.SectionInfo.Comment = "all of it"
	w, err := pcapgo.NewNgWriterInterface(&b, i, o)
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range all {
		info := gopacket.CaptureInfo{Timestamp: p.at, CaptureLength: len(p.data), Length: p.length}
		if err := w.WritePacket(info, p.data); err != nil {
			t.Fatal(err)
		}
	}
	stats := pcapgo.NgInterfaceStatistics{LastUpdate: start, StartTime: start, EndTime: start, PacketsReceived: 7, PacketsDropped: 1}
	if err := w.WriteInterfaceStats(0, stats); err != nil {
		t.Fatal(err)
	}
	if err := w.Flush(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

// file makes forms that the library cannot, word for word by the figures of the drafts.
type file struct {
	binary.ByteOrder
	b []byte
}

func (f *file) u16(list ...uint16) *file {
	for _, v := range list {
		f.b = append(f.b, 0, 0)
		f.PutUint16(f.b[len(f.b)-2:], v)
	}
	return f
}

func (f *file) u32(list ...uint32) *file {
	for _, v := range list {
		f.b = append(f.b, 0, 0, 0, 0)
		f.PutUint32(f.b[len(f.b)-4:], v)
	}
	return f
}

// bytes adds bytes, padded to four.
func (f *file) bytes(b []byte) *file {
	f.b = append(f.b, b...)
	for len(f.b)%4 != 0 {
		f.b = append(f.b, 0xee) // what padding is made of must be kept too
	}
	return f
}

// block adds a block whose body f makes.
func (f *file) block(blockType uint32, body func(*file)) *file {
	f.u32(blockType, 0)
	at := len(f.b)
	body(f)
	length := uint32(len(f.b) - at + 12)
	f.PutUint32(f.b[at-4:], length)
	return f.u32(length)
}

func (f *file) option(code uint16, value []byte) *file {
	return f.u16(code, uint16(len(value))).bytes(value)
}

func (f *file) end() *file { return f.u32(0) }

// section begins a section; length is that of what follows it, or -1.
func (f *file) section(length int64) *file {
	return f.block(0x0a0d0d0a, func(f *file) {
		f.u32(0x1a2b3c4d).u16(1, 0)
		words := []uint32{uint32(uint64(length)), uint32(uint64(length) >> 32)}
		if f.ByteOrder == binary.BigEndian {
			words[0], words[1] = words[1], words[0]
		}
		f.u32(words...)
	})
}

func (f *file) iface(link uint16, snap uint32, options func(*file)) *file {
	return f.block(1, func(f *file) {
		f.u16(link, 0).u32(snap)
		if options != nil {
			options(f)
			f.end()
		}
	})
}

// enhanced adds an Enhanced Packet Block.
func (f *file) enhanced(iface uint32, stamp uint64, data []byte, length int, options func(*file)) *file {
	return f.block(6, func(f *file) {
		f.u32(iface, uint32(stamp>>32), uint32(stamp), uint32(len(data)), uint32(length)).bytes(data)
		if options != nil {
			options(f)
			f.end()
		}
	})
}

// ip is the IP packet of a frame. Behind the headers of other links it is the same.
func ip(frame []byte) []byte { return frame[14:] }

func cooked(frame []byte) []byte {
	return append([]byte{0, 0, 0, 1, 0, 6, 2, 0, 0, 0, 0, 2, 0, 0, 8, 0}, ip(frame)...)
}

func cooked2(frame []byte) []byte {
	return append([]byte{8, 0, 0, 0, 0, 0, 0, 2, 0, 1, 0, 6, 2, 0, 0, 0, 0, 2, 0, 0}, ip(frame)...)
}

// crc32 is a hash option's value: the algorithm, and four bytes.
var crc32 = []byte{2, 1, 2, 3, 4}

// forms are files in all the forms that are read.
func forms(t testing.TB) []form {
	short, odd := frame(18), frame(33)
	some := []packet{
		{data: short, length: len(short), link: 1, at: start.Add(123456 * time.Microsecond)},
		{data: odd, length: 1514, link: 1, at: start.Add(time.Second)},
	}
	fine := []packet{{data: odd, length: len(odd), link: 1, at: start.Add(123456789)}}
	out := []form{
		{name: "pcap, microseconds, by a library", file: byLibrary(t, false, some), packets: some, judged: true},
		{name: "pcap, nanoseconds, by a library", file: byLibrary(t, true, fine), packets: fine, judged: true},
		{name: "pcap without packets", file: byLibrary(t, false, nil), judged: true},
		{name: "pcapng by a library", file: ngByLibrary(t, fine), packets: fine, judged: true},
	}
	for _, order := range []binary.ByteOrder{binary.LittleEndian, binary.BigEndian} {
		out = append(out, oldForms(order)...)
		out = append(out, ngForms(order)...)
	}
	return out
}

// oldForms are files of the format pcap.
func oldForms(order binary.ByteOrder) []form {
	f := func() *file { return &file{ByteOrder: order} }
	data := frame(18)
	one := func(link uint16, data []byte, length, fcs int, at time.Time) []packet {
		return []packet{{data: data, length: length, link: link, fcs: fcs, at: at}}
	}
	second := start.Add(time.Second)
	header := func(magic, link uint32) *file { return f().u32(magic).u16(2, 4).u32(0, 0, 65535, link) }
	add := func(f *file, data []byte, length int) []byte {
		f.u32(1600000001, 0, uint32(len(data)), uint32(length))
		return append(f.b, data...)
	}
	name := func(s string) string { return s + ", " + order.String() }
	with := append(bytes.Clone(data), 1, 2, 3, 4)
	return []form{
		{name("pcap"), add(header(0xa1b2c3d4, 1), data, len(data)), one(1, data, len(data), 0, second), true},
		{name("pcap, nanoseconds"), add(header(0xa1b23c4d, 1), data, len(data)), one(1, data, len(data), 0, second), true},
		{name("pcap, longer headers"), func() []byte {
			f := header(0xa1b2cd34, 1).u32(1600000001, 0, uint32(len(data)), uint32(len(data)), 3, 0x00080001)
			return append(f.b, data...)
		}(), one(1, data, len(data), 0, second), false},
		{name("pcap, cut off"), add(header(0xa1b2c3d4, 1), data[:40], len(data)), one(1, data[:40], len(data), 0, second), true},
		{name("pcap, more captured than there was"), add(header(0xa1b2c3d4, 1), data, 20), one(1, data, len(data), 0, second), false},
		{name("pcap with an FCS"), add(header(0xa1b2c3d4, 1|1<<26|2<<28), with, len(with)), one(1, with, len(with), 4, second), false},
		{name("pcap, raw IP"), add(header(0xa1b2c3d4, 101), ip(data), len(ip(data))), one(101, ip(data), len(ip(data)), 0, second), true},
		{name("pcap, cooked"), add(header(0xa1b2c3d4, 113), cooked(data), 62), one(113, cooked(data), 62, 0, second), true},
		{name("pcap, cooked v2"), add(header(0xa1b2c3d4, 276), cooked2(data), 66), one(276, cooked2(data), 66, 0, second), true},
	}
}

// ngForms are files of the format pcapng.
func ngForms(order binary.ByteOrder) []form {
	f := func() *file { return &file{ByteOrder: order} }
	data := frame(33)
	name := func(s string) string { return s + ", " + order.String() }
	micros := uint64(1600000001_000000)
	second := start.Add(time.Second)
	plain := packet{data: data, length: len(data), link: 1, at: second}
	out := []form{
		{name("pcapng"), f().section(-1).iface(1, 0, nil).enhanced(0, micros, data, len(data), nil).b, []packet{plain}, true},
		{name("pcapng without packets"), f().section(-1).b, nil, true},
		{name("pcapng, a Simple Packet Block"), f().section(-1).iface(1, 40, nil).block(3, func(f *file) {
			f.u32(uint32(len(data))).bytes(data[:40])
		}).b, []packet{{data: data[:40], length: len(data), link: 1}}, true},
		{name("pcapng, an obsolete Packet Block"), f().section(-1).iface(1, 0, nil).block(2, func(f *file) {
			f.u16(0, 5).u32(uint32(micros>>32), uint32(micros&math.MaxUint32), uint32(len(data)), uint32(len(data))).bytes(data)
		}).b, []packet{plain}, true},
		{name("pcapng, options"), f().section(-1).iface(1, 0, nil).enhanced(0, micros, data, len(data), func(f *file) {
			f.option(1, []byte("first")).option(2, []byte{0, 0, 0, 1}).option(1, []byte("second")).option(5, make([]byte, 8)).option(0x4000, []byte("unknown"))
		}).b, []packet{plain}, true},
		{name("pcapng, a hash"), f().section(-1).iface(1, 0, nil).enhanced(0, micros, data, len(data), func(f *file) {
			f.option(1, []byte("a")).option(3, crc32).option(1, []byte("b"))
		}).b, []packet{{data: data, length: len(data), link: 1, at: second, hashed: true}}, true},
		{name("pcapng, options without an end"), f().section(-1).iface(1, 0, nil).block(6, func(f *file) {
			f.u32(0, uint32(micros>>32), uint32(micros&math.MaxUint32), uint32(len(data)), uint32(len(data))).bytes(data).option(1, []byte("x"))
		}).b, []packet{plain}, true},
		{name("pcapng, an FCS by the interface"), f().section(-1).iface(1, 0, func(f *file) { f.option(13, []byte{32}) }).
			enhanced(0, micros, data, len(data), nil).b, []packet{{data: data, length: len(data), link: 1, at: second, fcs: 4}}, true},
		{name("pcapng, several interfaces and blocks of all kinds"), f().section(-1).
			iface(1, 0, func(f *file) { f.option(2, []byte("eth0")).option(0x8888, []byte{1}) }).
			iface(113, 0, func(f *file) { f.option(9, []byte{9}).option(14, []byte{0, 0, 0, 0, 0, 0, 0, 0}) }).
			block(4, func(f *file) { f.u16(1, 9).bytes([]byte("\x0a\x00\x00\x01host")).u32(0) }).
			block(0x7777, func(f *file) { f.bytes([]byte("nobody knows this")) }).
			enhanced(1, 1600000001_000000001, cooked(data), len(cooked(data)), nil).
			block(10, func(f *file) { f.u32(0x544c534b, 8).bytes([]byte("secrets\n")) }).
			enhanced(0, micros, data, len(data), nil).
			iface(101, 0, nil).
			enhanced(2, micros, ip(data), len(ip(data)), nil).
			block(5, func(f *file) { f.u32(0, 0, 0).option(4, make([]byte, 8)).end() }).
			block(0x7778, func(f *file) { f.u32(1, 2) }).b, []packet{
			{data: cooked(data), length: len(cooked(data)), link: 113, at: second.Add(1)},
			plain,
			{data: ip(data), length: len(ip(data)), link: 101, at: second},
		}, true},
	}
	for _, resolution := range []struct {
		value byte
		stamp uint64
	}{{0, 1600000001}, {3, 1600000001_000}, {6, micros}, {9, 1600000001_000000000}, {0x80 | 10, 1600000001 << 10}, {0x80 | 30, 1600000001 << 30}} {
		out = append(out, form{name("pcapng, a resolution of time"), f().section(-1).
			iface(1, 0, func(f *file) { f.option(9, []byte{resolution.value}) }).
			enhanced(0, resolution.stamp, data, len(data), nil).b, []packet{plain}, true})
	}
	return out
}

// mixed are two sections of different byte orders, each with a length.
func mixed() form {
	data := frame(18)
	both := []byte{}
	var all []packet
	for _, order := range []binary.ByteOrder{binary.BigEndian, binary.LittleEndian} {
		body := (&file{ByteOrder: order}).iface(1, 0, nil).enhanced(0, 1600000001_000000, data, len(data), nil)
		both = append(both, (&file{ByteOrder: order}).section(int64(len(body.b))).b...)
		both = append(both, body.b...)
		all = append(all, packet{data: data, length: len(data), link: 1, at: start.Add(time.Second)})
	}
	return form{"pcapng, sections of both orders", both, all, true}
}
