package flowtable

import (
	"encoding/binary"
	"maps"
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/cilium/ebpf"
)

// model is the table as it is meant: it holds what has been entered, by key. What it does
// not say is where an entry is, so it reads from the table which one has been evicted.
type model map[modelKey]modelEntry

// originals say which key a value was entered with last.
type originals map[modelKey]modelKey

type modelKey struct {
	form Form
	key  [wordsIP6]uint64
}

type modelEntry struct {
	value [wordsIP6]uint64
	owner uint16
}

// track does what Track is to do, but for evictions.
func (m model) track(c call, by originals) uint32 {
	k, now := modelKey{c.form, c.key}, modelEntry{c.value, c.owner}
	old, is := m[k]
	switch {
	case is && old == now:
		return Tracked
	case is && !sameSource(old.value, c.value, c.form > 3):
		return Collision
	}
	m[k] = now
	by[modelKey{c.form, c.value}] = k
	return Tracked
}

// found is what FindOriginal is to find.
func (m model) found(c call, by originals) call {
	v := modelKey{c.form, c.key}
	if k, is := by[v]; is && m[k].value == v.key {
		c.value, c.result = k.key, uint32(m[k].owner)
	}
	return c
}

// marks is how many values the index is to have.
func (m model) marks(by originals) (n int) {
	for v, k := range by {
		if m[k].owner > 0 && m[k].value == v.key {
			n++
		}
	}
	return n
}

// sameSource reports whether two flows have the port and the address of the source in
// common, by their bytes.
func sameSource(a, b [wordsIP6]uint64, ip6 bool) bool {
	bytes := func(words [wordsIP6]uint64) (out []byte) {
		for _, w := range words {
			out = binary.LittleEndian.AppendUint64(out, w)
		}
		return out
	}
	x, y := bytes(a), bytes(b)
	address := 4
	if ip6 {
		address = 16
	}
	return slices.Equal(x[:2], y[:2]) && slices.Equal(x[8:8+address], y[8:8+address])
}

// TestTableLikeModel enters, changes and looks up flows at random, and compares the
// table with the model behind each step.
func TestTableLikeModel(t *testing.T) {
	for _, test := range []struct {
		name              string
		ip6               bool
		flows, room, most int
		indexed           bool
	}{
		{"IPv4 with room", false, 40, 400, 42, true},
		{"IPv6 with room", true, 40, 400, 42, true},
		{"IPv4, too many", false, 60, 20, 28, true},
		{"IPv6, too many", true, 60, 20, 28, true},
		{"two buckets", false, 30, 1, 14, true},
		{"IPv4 without an index", false, 60, 20, 28, false},
		{"IPv6 without an index", true, 60, 20, 28, false},
	} {
		t.Run(test.name, func(t *testing.T) {
			table, m := testTable(t, test.room)
			table.Indexed = test.indexed
			words, forms := wordsIP, []Form{1, 2, 3}
			if test.ip6 {
				words, forms = wordsIP6, []Form{4, 5, 6}
			}
			p := loadTest(t, table, test.ip6, caller(words))
			r := rand.New(rand.NewPCG(15, 1))
			want, by, evicted, hits := model{}, originals{}, uint64(0), 0
			// crowded: a bucket of the index has been full, or nearly, so a flow may have lost its place to
			// another one (semantics 5.5), and is not found by its value.
			crowded, excused, short := false, 0, 0
			for range 5000 {
				c := randomCall(r, words, test.flows, forms)
				before := maps.Clone(want)
				got := c.run(t, p, words)
				switch c.kind {
				case find:
					e := before[modelKey{c.form, c.key}]
					if got.result != uint32(e.owner) || e.owner != 0 && got.value != e.value {
						t.Fatalf("found %d %x, not %d %x", got.result, got.value, e.owner, e.value)
					}
					continue
				case original:
					should := want.found(c, by)
					if !test.indexed {
						should.result = NotFound
					}
					if crowded && got.result == NotFound && should.result != NotFound {
						excused++
						continue
					}
					if got.result != should.result || got.result != 0 && got != should {
						t.Fatalf("found %+v by its value, not %+v", got, should)
					} else if got.result != 0 {
						hits++
					}
					continue
				}
				if result := want.track(c, by); got.result != result {
					t.Fatalf("tracking %+v gave %d, not %d", c, got.result, result)
				}
				evicted += want.compare(t, m, before, words)
				n, most := marksOf(t, m)
				crowded = crowded || most >= marks-1
				if should := want.marks(by); !test.indexed && n != 0 || test.indexed && (n > should || n < should && !crowded) {
					t.Fatalf("%d marks, and %d values to find", n, should)
				} else if test.indexed {
					short = max(short, should-n)
				}
			}
			if u := usageOf(t, m); u != (Usage{len(want), evicted}) || len(want) > test.most {
				t.Errorf("the table has %+v, and there are %d flows, %d evicted, %d at most", u, len(want), evicted, test.most)
			}
			if hits < 20 && test.indexed {
				t.Errorf("%d flows were found by their values, which says little", hits)
			}
			if excused > hits/10 || short > 3 {
				t.Errorf("%d flows were not found by their values, %d were, and up to %d marks lacked: too many for a crowded index", excused, hits, short)
			}
			t.Logf("%d flows, %d evicted, %d found by their values, %d not, up to %d marks lacked", len(want), evicted, hits, excused, short)
		})
	}
}

// randomCall is a call with one of so many keys. Values have one of few sources.
func randomCall(r *rand.Rand, words, flows int, forms []Form) call {
	c := call{kind: []callKind{track, track, find, original}[r.IntN(4)], form: forms[r.IntN(len(forms))], owner: uint16(1 + r.IntN(3))}
	n := uint64(r.IntN((flows + len(forms) - 1) / len(forms)))
	for i := range words {
		c.key[i] = n * 0x1000100010001
		c.value[i] = uint64(r.IntN(2)) << (16 * r.IntN(4))
	}
	if c.kind == original {
		c.key, c.value = c.value, c.key
		return c
	}
	protocols := []uint64{6, 17}
	c.key[0] = c.key[0]&^(0xff<<32) | protocols[n%2]<<32
	return c
}

// compare compares the table with the model, behind an entry: one that is missing has
// been evicted, which may happen to one that nobody has used for longer than others. It
// returns how many of these are to be counted.
func (want model) compare(t *testing.T, m *ebpf.Map, before model, words int) (evicted uint64) {
	t.Helper()
	got := decode(t, m, words)
	for k, e := range want {
		if _, is := got[k]; !is {
			if _, was := before[k]; !was {
				t.Fatalf("%+v has not been entered", k)
			}
			delete(want, k)
			evicted++
		} else if got[k] != e {
			t.Fatalf("%+v is %+v and should be %+v", k, got[k], e)
		}
	}
	if len(got) != len(want) || len(before)-len(want) > 1 {
		t.Fatalf("the table has %d flows and should have %d, after %d", len(got), len(want), len(before))
	}
	return evicted
}

// decode reads all entries. That a key is there twice is an error.
func decode(t *testing.T, m *ebpf.Map, words int) model {
	t.Helper()
	out := model{}
	eachEntry(t, m, func(b []byte, i int) {
		tag := binary.LittleEndian.Uint16(b[8+2*i:])
		k, e := modelKey{form: Form(tag >> 13)}, modelEntry{owner: binary.LittleEndian.Uint16(b[22+2*i:])}
		for w := range words {
			at, toValue := 64+32*i+8*w, 16
			if w > 1 {
				at, toValue = 288+48*i+8*(w-2), 24
			}
			k.key[w], e.value[w] = binary.LittleEndian.Uint64(b[at:]), binary.LittleEndian.Uint64(b[at+toValue:])
		}
		if _, twice := out[k]; twice {
			t.Fatalf("%+v is there twice", k)
		}
		out[k] = e
	})
	return out
}

func eachEntry(t *testing.T, m *ebpf.Map, do func(bucket []byte, i int)) []byte {
	t.Helper()
	value, err := m.LookupBytes(uint32(0))
	if err != nil {
		t.Fatal(err)
	}
	buckets := (len(value) - 128) / 704
	for at := 128; at < 128+640*buckets; at += 640 {
		for i := range 7 {
			if b := value[at:][:640]; b[8+2*i]|b[9+2*i] != 0 {
				do(b, i)
			}
		}
	}
	return value
}

func usageOf(t *testing.T, m *ebpf.Map) Usage {
	t.Helper()
	value, err := m.LookupBytes(uint32(0))
	if err != nil {
		t.Fatal(err)
	}
	return UsageOf(value)
}

// TestOldestIsEvicted: where both buckets are full, the entry goes that has not been used
// for longest, and it is counted unless it has been idle for as long as the RFCs ask for.
func TestOldestIsEvicted(t *testing.T) {
	table, m := testTable(t, 1) // two buckets
	p := loadTest(t, table, false, caller(wordsIP))
	const udp, tcp = 17, 6
	for _, test := range []struct {
		name     string
		protocol uint64
		idle     uint32 // seconds that the oldest has been idle
		counted  uint64
	}{
		{"UDP in use", udp, 1, 1},
		{"UDP, nearly five minutes", udp, 299, 1},
		{"UDP, five minutes", udp, 300, 0},
		{"TCP, five minutes", tcp, 300, 1},
		{"TCP, nearly 2:04 hours", tcp, 7439, 1},
		{"TCP, 2:04 hours", tcp, 7440, 0},
	} {
		t.Run(test.name, func(t *testing.T) {
			key := func(n uint64) (k [wordsIP6]uint64) { k[0], k[1] = test.protocol<<32, n; return k }
			value := make([]byte, Size(1))
			Init(value, 1)
			if err := m.Put(uint32(0), value); err != nil {
				t.Fatal(err)
			}
			for n := range uint64(14) {
				(call{kind: track, form: 1, owner: 1, key: key(n)}).run(t, p, wordsIP)
			}
			oldest, nth := rand.IntN(14), 0
			var gone uint64
			value = eachEntry(t, m, func(b []byte, i int) {
				time := binary.LittleEndian.Uint32(b[36+4*i:])
				if nth == oldest {
					gone = binary.LittleEndian.Uint64(b[64+32*i+8:])
					time -= test.idle*uint32(table.Ticks) + 2
				} else {
					time -= uint32(rand.IntN(int(test.idle)*table.Ticks/2 + 1))
				}
				binary.LittleEndian.PutUint32(b[36+4*i:], time)
				nth++
			})
			if err := m.Put(uint32(0), value); err != nil {
				t.Fatal(err)
			}
			if c := (call{kind: track, form: 1, owner: 1, key: key(99)}).run(t, p, wordsIP); nth != 14 || c.result != Tracked {
				t.Fatalf("with %d entries, a new one gave %d", nth, c.result)
			}
			for n := range uint64(14) {
				c := (call{form: 1, key: key(n)}).run(t, p, wordsIP)
				if (c.result == NotFound) != (n == gone) {
					t.Errorf("flow %d: %d, and %d is the oldest", n, c.result, gone)
				}
			}
			if u := usageOf(t, m); u != (Usage{14, test.counted}) {
				t.Errorf("%+v, want 14 entries and %d evicted", u, test.counted)
			}
		})
	}
}

// TestOlderStays: a flow of another client does not get the key of one, unless that has
// been idle for long.
func TestOlderStays(t *testing.T) {
	for _, ip6 := range []bool{false, true} {
		words, form := wordsIP, Form(1)
		if ip6 {
			words, form = wordsIP6, 4
		}
		table, m := testTable(t, 1)
		p := loadTest(t, table, ip6, caller(words))
		key := [wordsIP6]uint64{17 << 32, 1, 2, 3, 4}
		old := call{kind: track, form: form, owner: 1, key: key, value: [wordsIP6]uint64{0xaaaa1111, 5, 6, 7, 8}}
		if !ip6 {
			clear(old.key[2:])
			clear(old.value[2:])
		}
		if c := old.run(t, p, words); c.result != Tracked {
			t.Fatal(c)
		}
		source := []func(c *call){
			func(c *call) { c.value[0] ^= 1 << 15 },       // the port
			func(c *call) { c.value[1] ^= 1 << 31 },       // the address, or its first half
			func(c *call) { c.value[words-3] ^= 1 << 63 }, // its second half, where there is one
		}
		if !ip6 {
			source = source[:2]
		}
		for i, change := range source {
			other := old
			change(&other)
			if c := other.run(t, p, words); c.result != Collision {
				t.Errorf("IPv6 %t, source %d: %d", ip6, i, c.result)
			}
			if c := (call{form: form, key: key}).run(t, p, words); c.value != old.value {
				t.Errorf("IPv6 %t, source %d: the older flow has %x", ip6, i, c.value)
			}
		}
		value := eachEntry(t, m, func(b []byte, i int) {
			binary.LittleEndian.PutUint32(b[36+4*i:], binary.LittleEndian.Uint32(b[36+4*i:])-300*uint32(table.Ticks))
		})
		if err := m.Put(uint32(0), value); err != nil {
			t.Fatal(err)
		}
		other := old
		source[0](&other)
		if c := other.run(t, p, words); c.result != Tracked {
			t.Errorf("IPv6 %t, five minutes later: %d", ip6, c.result)
		}
	}
}

// TestRoom: a table has room for as many flows as it was made for. Of so many, each of which has but two
// buckets to be in, hardly any finds both of them full.
func TestRoom(t *testing.T) {
	const flows = 16384
	table, m := testTable(t, flows)
	p := loadTest(t, table, false, caller(wordsIP))
	r := rand.New(rand.NewPCG(15, 3))
	var values [][wordsIP6]uint64
	for n := range flows {
		key := [wordsIP6]uint64{r.Uint64()&^(0xff<<32) | 17<<32, r.Uint64()}
		values = append(values, [wordsIP6]uint64{key[0], r.Uint64()})
		if c := (call{kind: track, form: 1, owner: 1, key: key, value: values[n]}).run(t, p, wordsIP); c.result != Tracked {
			t.Fatalf("flow %d: %d", n, c.result)
		}
		if n != flows/2 && n != flows*3/4 && n != flows-1 {
			continue
		}
		switch u := usageOf(t, m); {
		case u.Flows+int(u.Evicted) != n+1, n < flows-1 && u.Evicted > 0, u.Evicted > flows/200:
			t.Errorf("of %d flows %d are there and %d evicted", n+1, u.Flows, u.Evicted)
		default:
			t.Logf("of %d flows %d were evicted", n+1, u.Evicted)
		}
	}
	lost := 0
	for _, v := range values {
		if c := (call{kind: original, form: 1, key: v}).run(t, p, wordsIP); c.result != 1 {
			lost++
		}
	}
	if u := usageOf(t, m); lost < int(u.Evicted) || lost > int(u.Evicted)+flows/1000 {
		t.Errorf("%d of %d flows are not found by their values, %d were evicted", lost, flows, u.Evicted)
	}
}
