package bpf_test

import (
	"fmt"
	"io"
	"math/rand/v2"
	"strings"
	"testing"

	"repacket/internal/bpf"
	"repacket/internal/engine"
	"repacket/internal/field"
	"repacket/internal/plan"
	"repacket/internal/rule"
)

// tabled are rule sets that become tables: so many rules, each made by draw.
var tabled = []struct {
	name  string
	kinds []plan.TableKind // of its tables
	n     int
	draw  func(d *drawer) string
}{
	{"a port", []plan.TableKind{plan.Dense}, 100, func(d *drawer) string { return d.text("if udp_dest %d then udp_dest %d", d.port(), d.port()) }},
	{"a port, no sum", []plan.TableKind{plan.Dense}, 50, func(d *drawer) string { return d.text("if tcp_src %d then ip_dscp %d", d.port(), d.IntN(64)) }},
	{"ports of both", []plan.TableKind{plan.Dense}, 50, func(d *drawer) string {
		return d.text("if dport %d then dport %d ttl %d", d.port(), d.port(), d.byte())
	}},
	{"a byte", []plan.TableKind{plan.Dense}, 50, func(d *drawer) string { return d.text("if ip_ttl %d then ip_ttl %d", d.byte(), d.byte()) }},
	{"bits of a byte", []plan.TableKind{plan.Dense}, 20, func(d *drawer) string { return d.text("if ip_dscp %d then ip_dscp %d", d.IntN(64), d.IntN(64)) }},
	{"prefixes at both ends of IPv6", []plan.TableKind{plan.Ordered}, 40, func(d *drawer) string {
		return d.text("if ip6_dest %s%x::/%d then ip6_hlim %d", []string{"", "ffff:ffff:ffff:"}[d.IntN(2)], 0xff00+d.IntN(256), 64+d.IntN(40), d.byte())
	}},
	{"an address", []plan.TableKind{plan.Hash}, 100, func(d *drawer) string { return d.text("if ip_dest %s then ip_dest %s", d.address(), d.address()) }},
	{"an address, look", []plan.TableKind{plan.Hash}, 100, func(d *drawer) string { return d.text("if ip_src %s", d.address()) }},
	{"an address, dropped", []plan.TableKind{plan.Hash}, 30, func(d *drawer) string { return d.text("if ip_src %s then drop", d.address()) }},
	{"address and port", []plan.TableKind{plan.Hash}, 60, func(d *drawer) string {
		return d.text("if ip_src %s udp_dest %d ip_tos 3 then ip_dest %s ip_dscp %d udp_src %d", d.address(), d.port(), d.address(), d.IntN(64), d.port())
	}},
	{"two ports", []plan.TableKind{plan.Hash}, 60, func(d *drawer) string {
		return d.text("if tcp_src %d tcp_dest %d then tcp_window %d tcp_seq %d", d.port(), d.port(), d.port(), d.Uint32())
	}},
	{"many addresses", []plan.TableKind{plan.Hash}, 1200, func(d *drawer) string {
		return d.text("if ip_dest 10.%d.%d.%d then ip_dest %s", d.IntN(9), d.IntN(9), d.IntN(256), d.address())
	}},
	{"IPv6", []plan.TableKind{plan.Hash}, 40, func(d *drawer) string {
		return d.text("if ip6_dest %s then ip6_dest %s ip6_flow %d", d.address6(), d.address6(), d.port())
	}},
	{"MAC", []plan.TableKind{plan.Hash}, 40, func(d *drawer) string { return d.text("if eth_src %s then eth_dest %s", d.mac(), d.mac()) }},
	{"tags", []plan.TableKind{plan.Dense}, 40, func(d *drawer) string { return d.text("if vlan_id %d then vlan_id %d", d.IntN(64), d.IntN(4096)) }},
	{"fixed", []plan.TableKind{plan.Hash}, 30, func(d *drawer) string {
		return d.text("if ip udp_src %d udp_dest %d then udp_dest %d udp_check fix", d.port(), d.port(), d.port())
	}},
	{"lists", []plan.TableKind{plan.Hash}, 40, func(d *drawer) string {
		return d.text("if ip_src %s,%s,%s then ip_src %s", d.address(), d.address(), d.address(), d.address())
	}},
	{"what is the same is worked out", []plan.TableKind{plan.Hash}, 40, func(d *drawer) string {
		return d.text("if ip_src %s then ip_ttl -1 udp_src udp_dest ip_dest %s", d.address(), d.address())
	}},
	{"the hash of a flow over IPv6", []plan.TableKind{plan.Hash}, 40, func(d *drawer) string {
		return d.text("if ip6_dest %s udp then ip6_flow hash udp_src %d", d.address6(), d.port())
	}},
	{"prefixes", []plan.TableKind{plan.Ordered}, 80, func(d *drawer) string { return d.text("if ip_dest %s then ip_dscp %d", d.prefix(), d.IntN(64)) }},
	{"prefixes and a sum", []plan.TableKind{plan.Ordered}, 40, func(d *drawer) string {
		return d.text("if ip_src %s then ip_src %s udp_src %d", d.prefix(), d.address(), d.port())
	}},
	{"prefixes of IPv6", []plan.TableKind{plan.Ordered}, 40, func(d *drawer) string { return d.text("if ip6_src %s then ip6_hlim %d", d.prefix6(), d.byte()) }},
	{"MAC ranges", []plan.TableKind{plan.Ordered}, 30, func(d *drawer) string { return d.text("if arp_sha %s/40 then arp_op %d", d.macPrefix(), d.port()) }},
	{"ranges of ports", []plan.TableKind{plan.Dense}, 40, func(d *drawer) string {
		lo := d.port()
		return d.text("if tcp_dest %d-%d then tcp_dest %d", lo, min(65535, lo+d.IntN(3000)), d.port())
	}},
	{"ranges of sequence numbers", []plan.TableKind{plan.Ordered}, 60, func(d *drawer) string {
		lo := d.Uint32N(1 << 31)
		return d.text("if tcp_seq %d-%d then tcp_seq %d", lo, lo+d.Uint32N(1<<29), d.Uint32())
	}},
	{"too many to compare", []plan.TableKind{plan.Ordered}, 4000, func(d *drawer) string {
		lo := d.Uint32N(1 << 31)
		return d.text("if tcp_seq %d-%d then tcp_ack_seq %d", lo, lo+d.Uint32N(1<<18), d.Uint32())
	}},
	{"too many to compare, of 48 bits", []plan.TableKind{plan.Ordered}, 3000, func(d *drawer) string {
		return d.text("if arp_sha 02:%02x:%02x:%02x:00:00/32 then arp_op %d", d.IntN(256), d.IntN(256), d.IntN(4), d.port())
	}},
	{"shapes in turn", nil, 120, func(d *drawer) string { return shapesInTurn[d.IntN(len(shapesInTurn))](d) }},
	{"many shapes in turn", nil, 600, func(d *drawer) string { return shapesInTurn[d.IntN(len(shapesInTurn))](d) }},
	{"shapes in turn, with a sum", nil, 90, func(d *drawer) string { return shapesInTurn[d.IntN(3)](d) }},
	{"more ports than a byte can number", []plan.TableKind{plan.Dense}, 800, func(d *drawer) string { return d.text("if udp_src %d then ip_id %d", d.port(), d.port()) }},
	{"what is tested for is set, and few values there are", []plan.TableKind{plan.Dense}, 40, func(d *drawer) string {
		return d.text("if tcp_hlen %d then tcp_hlen %d", 5+d.IntN(11), d.IntN(16))
	}},
}

var shapesInTurn = []func(d *drawer) string{
	func(d *drawer) string { return d.text("if udp_dest %d then udp_dest %d", d.port(), d.port()) },
	func(d *drawer) string { return d.text("if ip_dest %s then ip_dest %s", d.address(), d.address()) },
	func(d *drawer) string { return d.text("if ip_src %s then ip_dscp %d", d.prefix(), d.IntN(64)) },
	func(d *drawer) string { return d.text("if ip_ttl %d then drop", d.byte()) },
	func(d *drawer) string { return d.text("if tcp_src %d tcp_syn on then ip_ttl %d", d.port(), d.byte()) },
	func(d *drawer) string { return d.text("if udp_src %d", d.port()) },
}

// drawer draws values from so few that rules meet.
type drawer struct{ *rand.Rand }

func (d *drawer) text(format string, args ...any) string { return fmt.Sprintf(format, args...) }
func (d *drawer) port() int                              { return d.IntN(500) * 131 % 65536 }
func (d *drawer) byte() int                              { return d.IntN(256) }
func (d *drawer) address() string                        { return d.text("10.%d.0.%d", d.IntN(16)*16, d.IntN(8)) }

func (d *drawer) address6() string { return d.text("2001:db8:%x::%x", d.IntN(9), d.IntN(9)) }

func (d *drawer) mac() string { return d.text("02:00:00:00:%02x:%02x", d.IntN(9), d.IntN(9)) }

func (d *drawer) macPrefix() string { return d.text("02:00:00:00:%02x:00", d.IntN(200)) }

func (d *drawer) prefix() string {
	bits := 8 + d.IntN(25)
	v := (uint32(10)<<24 | d.Uint32()&0xf0070f) &^ (1<<(32-bits) - 1)
	return d.text("%d.%d.%d.%d/%d", v>>24, v>>16&255, v>>8&255, v&255, bits)
}

func (d *drawer) prefix6() string {
	if d.IntN(2) == 0 {
		return d.text("2001:db8:%x::/48", d.IntN(30))
	}
	return d.text("2001:db8:%x::%x:0/112", d.IntN(30), d.IntN(30))
}

// TestTables: rules of one shape become a table, and it does what they would do
// one by one.
func TestTables(t *testing.T) {
	for i, test := range tabled {
		t.Run(test.name, func(t *testing.T) {
			d := &drawer{rand.New(rand.NewPCG(uint64(i), 7))}
			var list []string
			for range test.n {
				list = append(list, test.draw(d))
			}
			p := checked(t, strings.Join(list, "\n"))
			hasTables(t, p, test.kinds)
			for _, o := range []engine.LoadOptions{{}, {Fragments: true, Limit: 1, Timed: true}, {Hook: bpf.TC}} {
				proves(t, p, o, 1000)
			}
		})
	}
}

// hasTables fails if the rules do not come to tables of these kinds.
func hasTables(t *testing.T, p *rule.Program, kinds []plan.TableKind) {
	t.Helper()
	planned, err := plan.BuildTables(p, field.Ethernet)
	if err != nil {
		t.Fatal(err)
	}
	is := map[plan.TableKind]bool{}
	for _, table := range planned.Tables {
		is[table.Kind] = true
		t.Log(table.Description())
	}
	for _, k := range kinds {
		if !is[k] {
			t.Errorf("no table of kind %s", k)
		}
	}
	if len(is) == 0 {
		t.Error("no tables")
	}
}

// rowsOfPrefixes are rules with rows that move prefixes, each made by draw.
var rowsOfPrefixes = []struct {
	name, rule string
	n          int
	row        func(d *drawer) string
}{
	{"networks", "if ip_dest @a then ip_dest @b", 300, func(d *drawer) string { return d.moved(d.prefix()) }},
	{"networks, and a port", "if ip_src @a udp_src 9 then ip_src @b udp_src 53 ip_ttl -1", 60, func(d *drawer) string { return d.moved(d.prefix()) }},
	{"networks, and a checksum", "if ip_src @a then ip_src @b tcp_check fix", 60, func(d *drawer) string { return d.moved(d.prefix()) }},
	{"networks, and where they were", "if ip_src @a then ip_src @b ip_dest ip_src", 60, func(d *drawer) string { return d.moved(d.prefix()) }},
	{"networks of IPv6", "if ip6_dest @a then ip6_dest @b ip6_hlim 9", 80, func(d *drawer) string {
		p := d.prefix6()
		return p + "," + strings.Replace(p, "2001:db8", d.text("2001:%x", d.IntN(9)), 1)
	}},
	{"networks of MACs", "if eth_src @a then eth_src @b", 60, func(d *drawer) string { return d.macPrefix() + "/40,06:00:00:00:" + d.text("%02x:00/40", d.IntN(256)) }},
}

// moved is a prefix, and one of the same length in its place.
func (d *drawer) moved(p string) string {
	bits := 0
	fmt.Sscanf(p[strings.IndexByte(p, '/'):], "/%d", &bits)
	v := (uint32(172)<<24 | d.Uint32()&0xffffff) &^ (1<<(32-bits) - 1)
	return p + d.text(",%d.%d.%d.%d/%d", v>>24, v>>16&255, v>>8&255, v&255, bits)
}

// TestTablesOfPrefixes: rows that put prefixes in the place of prefixes become a
// table, and it does what the rows would do one by one.
func TestTablesOfPrefixes(t *testing.T) {
	for i, test := range rowsOfPrefixes {
		t.Run(test.name, func(t *testing.T) {
			d := &drawer{rand.New(rand.NewPCG(uint64(i), 11))}
			rows := []string{"a,b"}
			for range test.n {
				rows = append(rows, test.row(d))
			}
			p, err := rule.CheckWith(test.rule+" from rows.csv", rule.Options{Open: func(string) (io.ReadCloser, error) {
				return io.NopCloser(strings.NewReader(strings.Join(rows, "\n"))), nil
			}})
			if err != nil {
				t.Fatal(err)
			}
			hasTables(t, p, []plan.TableKind{plan.Ordered})
			for _, o := range []engine.LoadOptions{{}, {Fragments: true, Limit: 1, Timed: true}, {Hook: bpf.TC}} {
				proves(t, p, o, 1000)
			}
		})
	}
}
