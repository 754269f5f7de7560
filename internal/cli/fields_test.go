package cli

import (
	"flag"
	"os"
	"strings"
	"testing"

	"repacket/internal/field"
	"repacket/internal/rule"
)

var update = flag.Bool("update", false, "write docs/fields.md and what scripts expect instead of comparing")

// The page of the fields says what the table says.
func TestFieldsPage(t *testing.T) {
	t.Parallel()
	const file = "../../docs/fields.md"
	if *update {
		if err := os.WriteFile(file, []byte(fieldsPage()), 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	page, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if string(page) != fieldsPage() {
		t.Error("docs/fields.md is not what the table says: run make docs")
	}
}

// Every name of every field is answered with that field, and its example is a
// rule that the checker takes.
func TestFieldsKnowsEveryName(t *testing.T) {
	t.Parallel()
	for _, f := range field.Fields() {
		if _, err := rule.Check(exampleRule(f.Name, f)); err != nil {
			t.Errorf("the example of %s is no rule: %v", f.Name, err)
		}
		for _, name := range append([]string{f.Name, strings.ToUpper(f.Name), strings.Replace(f.Name, "_", ".", 1)}, f.Aliases...) {
			status, stdout, stderr := newFake(t, "fields", name).run()
			if status != exitDone || stderr != "" || !strings.HasPrefix(stdout, f.Name+"  ") {
				t.Errorf("fields %s: exit status %d, %q, %q", name, status, stdout, stderr)
			}
		}
	}
	for _, s := range field.Generics() {
		status, stdout, _ := newFake(t, "fields", s.Name).run()
		if status != exitDone || !strings.Contains(stdout, "\n  "+s.Fields[0]+" ") {
			t.Errorf("fields %s: exit status %d, %q", s.Name, status, stdout)
		}
		if _, err := rule.Check(exampleRule(s.Name, field.MustByName(s.Fields[0]))); err != nil {
			t.Errorf("the example of %s is no rule: %v", s.Name, err)
		}
	}
}

func TestFieldsListsAllFields(t *testing.T) {
	t.Parallel()
	_, stdout, _ := newFake(t, "fields").run()
	for _, f := range field.Fields() {
		if strings.Count(stdout, "\n"+f.Name+" ") != 1 {
			t.Errorf("%s is not in the list once", f.Name)
		}
	}
	_, stdout, _ = newFake(t, "fields", "udp").run()
	if strings.Contains(stdout, "tcp_src") || !strings.Contains(stdout, "udp_len") {
		t.Errorf("the fields of udp are:\n%s", stdout)
	}
	_, stdout, _ = newFake(t, "fields", "tcp").run()
	if !strings.Contains(stdout, "tcp_src") || !strings.Contains(stdout, "tcp_mss") {
		t.Errorf("the fields of tcp are:\n%s", stdout)
	}
}

// What is told about a field, held to the RFC by hand: RFC 2474 puts the six
// bits of the code point at the top of the header's second byte.
func TestFieldDetail(t *testing.T) {
	t.Parallel()
	_, stdout, _ := newFake(t, "fields", "ip.dscp").run()
	wantText(t, "stdout", stdout, `ip_dscp  differentiated services code point
  header     IPv4 (ip), RFC 791
  place      byte 1 of the header, 6 bits, mask 0xfc
  values     0 to 63, names
  names      cs0=0 be=0 lephb=1 cs1=8 af11=10 af12=12 af13=14 cs2=16 af21=18
             af22=20 af23=22 cs3=24 af31=26 af32=28 af33=30 cs4=32 af41=34
             af42=36 af43=38 cs5=40 va=44 ef=46 cs6=48 cs7=56
  aliases    ip_dsfield_dscp
  checksums  ip_check follow a change
  source     RFC 2474
  example    repacket -i eth1 if ip_dscp cs6 then ip_dscp cs0
`)
}

// A field that is there only in some messages says in which (RFC 792).
func TestFieldOnlyWith(t *testing.T) {
	t.Parallel()
	_, stdout, _ := newFake(t, "fields", "icmp_id").run()
	wantText(t, "stdout", stdout, `icmp_id  identifier, in echo and timestamp messages
  header     ICMP (icmp), RFC 792
  place      byte 4 of the header, 16 bits
  values     0 to 65535
  only with  icmp_type echo-reply,echo-request,timestamp-request,timestamp-reply
  aliases    icmp_identifier
  checksums  icmp_check follow a change
  source     RFC 792
  example    repacket -i eth1 if icmp_id 1 then icmp_id 2
`)
}

func TestFieldJSON(t *testing.T) {
	t.Parallel()
	_, stdout, _ := newFake(t, "--json", "fields", "tcp_seq").run()
	wantText(t, "stdout", stdout, `{"version":1,"event":"field","time":"2023-11-14T22:13:20Z","name":"tcp_seq","aliases":["tcp_sequence"],`+
		`"header":"tcp","bit":32,"width":32,"kind":"number","checksums":["tcp_check"],"structural":false,`+
		`"meaning":"sequence number","rfc":"RFC 9293"}`+"\n")
}

func TestUnknownField(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct{ name, hint string }{
		{"udp_dast", "did you mean udp_dest?"},
		{"nonsense", "repacket fields lists them all"},
	} {
		status, stdout, stderr := newFake(t, "fields", tt.name).run()
		if status != exitUsage || stdout != "" {
			t.Errorf("%s: exit status %d, %q", tt.name, status, stdout)
		}
		wantText(t, "stderr", stderr, "repacket: error: no field is named \""+tt.name+"\"\n  hint: "+tt.hint+"\n")
	}
}
