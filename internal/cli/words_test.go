package cli

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"
)

func isTestCommand(word string) bool { return word == "attach" || word == "fields" }

// spell writes a sorted line so that tables can hold it.
func spell(l line) string {
	var b strings.Builder
	if l.command != "" {
		b.WriteString(l.command + " ")
	}
	for _, g := range l.flags {
		b.WriteString("--" + g.flag.Name + "=" + g.value + " ")
	}
	return b.String() + "| " + strings.Join(l.words, " ")
}

func TestSortWords(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct{ in, want string }{
		{"if udp_dest 443 then udp_dest 8080", "| if udp_dest 443 then udp_dest 8080"},
		{"-i eth1 if udp then udp_dest 1", "--interface=eth1 | if udp then udp_dest 1"},
		{"-ieth1 if udp then udp_dest 1", "--interface=eth1 | if udp then udp_dest 1"},
		{"-i=eth1 if udp", "--interface=eth1 | if udp"},
		{"--interface eth1 if udp", "--interface=eth1 | if udp"},
		{"--interface=eth1 if udp", "--interface=eth1 | if udp"},
		{"if udp then udp_dest 1 -i eth1", "--interface=eth1 | if udp then udp_dest 1"},
		{"if udp -i eth1 then -c 3 udp_dest 1 --for=30s", "--interface=eth1 --count=3 --for=30s | if udp then udp_dest 1"},
		{"if udp_dest -1", "| if udp_dest -1"},
		{"if ip_ttl 3 then ip_ttl -1 -q", "--quiet=true | if ip_ttl 3 then ip_ttl -1"},
		{"if ip_ttl 3 then ip_ttl -@n", "| if ip_ttl 3 then ip_ttl -@n"},
		{"-c -1 if udp", "--count=-1 | if udp"},
		{"-r - if udp", "--read=- | if udp"},
		{"-qji eth1 if udp", "--quiet=true --json=true --interface=eth1 | if udp"},
		{"-qieth1 if udp", "--quiet=true --interface=eth1 | if udp"},
		{"-vv if udp", "--verbose=true --verbose=true | if udp"},
		{"--json=false if udp", "--json=false | if udp"},
		{"attach -i eth1 if udp", "attach --interface=eth1 | if udp"},
		{"-i eth1 attach if udp", "attach --interface=eth1 | if udp"},
		{"-a -i eth1 if udp", "--attach=true --interface=eth1 | if udp"},
		{"-i attach if udp", "--interface=attach | if udp"},
		{"if attach", "| if attach"},
		{"-- attach", "| attach"},
		{"if udp -- -i eth1", "| if udp -i eth1"},
		{"web: if udp -q else dns: if tcp", "--quiet=true | web: if udp else dns: if tcp"},
		{"fields ip_dscp", "fields | ip_dscp"},
		{"- if", "| - if"},
		{"", "| "},
	} {
		t.Run(tt.in, func(t *testing.T) {
			l, err := sortWords(strings.Fields(tt.in), newFlags(&options{}), isTestCommand)
			if err != nil {
				t.Fatalf("sortWords: %v", err)
			}
			if diff := cmp.Diff(tt.want, spell(l)); diff != "" {
				t.Errorf("(-want +got)\n%s", diff)
			}
		})
	}
}

// One quoted argument is one word, whatever is in it.
func TestSortWordsQuoted(t *testing.T) {
	t.Parallel()
	l, err := sortWords([]string{"if udp_dest 443 then udp_dest 8080", "-i", "eth1"}, newFlags(&options{}), isTestCommand)
	if err != nil {
		t.Fatalf("sortWords: %v", err)
	}
	if want := "--interface=eth1 | if udp_dest 443 then udp_dest 8080"; spell(l) != want {
		t.Errorf("got %s, want %s", spell(l), want)
	}
}

func TestSortWordsErrors(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct{ in, msg, hint string }{
		{"-i", "-i needs a value", "-i IFACE"},
		{"-i if udp", "-i needs a value", "-i IFACE"},
		{"-i -q if udp", "-i needs a value", "-i IFACE"},
		{"--for", "--for needs a value", "--for DURATION"},
		{"--for= if udp", "--for needs a value", "--for DURATION"},
		{"-qc", "-c needs a value", "-c N"},
		{"-z", "unknown flag -z", "repacket --help lists the flags"},
		{"--interfaec eth1", "unknown flag --interfaec", "did you mean --interface?"},
		{"--zzz", "unknown flag --zzz", "repacket --help lists the flags"},
		{"-iéth if", "", ""}, // the value may be any text
		{"-é", "", ""},       // no letter of a flag: a word
	} {
		t.Run(tt.in, func(t *testing.T) {
			_, err := sortWords(strings.Fields(tt.in), newFlags(&options{}), isTestCommand)
			if tt.msg == "" {
				if err != nil {
					t.Errorf("unexpected error: %v", err)
				}
				return
			}
			wantUsage(t, err, tt.msg, tt.hint)
		})
	}
}

// An error does not keep --json behind it from being seen.
func TestSortWordsGoesOnBehindAnError(t *testing.T) {
	t.Parallel()
	l, err := sortWords([]string{"--nonsense", "--json", "if", "udp"}, newFlags(&options{}), isTestCommand)
	if err == nil {
		t.Fatal("no error")
	}
	if want := "--json=true | if udp"; spell(l) != want {
		t.Errorf("got %s, want %s", spell(l), want)
	}
}

// Wherever flags stand, the program's words come out in their order, and the
// flags are found.
func TestFlagsStandAnywhere(t *testing.T) {
	t.Parallel()
	program := strings.Fields("if tcp_ack on tcp_psh on ip_ttl -1 then tcp_dest 50000")
	rapid.Check(t, func(t *rapid.T) {
		args := program
		for _, f := range [][]string{{"-i", "eth1"}, {"-q"}, {"--for=30s"}} {
			at := rapid.IntRange(0, len(program)).Draw(t, "at")
			// Behind the at-th word of the program, not inside another flag.
			seen, pos := 0, 0
			for ; seen < at; pos++ {
				if seen < len(program) && args[pos] == program[seen] {
					seen++
				}
			}
			args = append(append(append([]string{}, args[:pos]...), f...), args[pos:]...)
		}
		l, err := sortWords(args, newFlags(&options{}), isTestCommand)
		if err != nil {
			t.Fatalf("%q: %v", args, err)
		}
		if diff := cmp.Diff(program, l.words); diff != "" {
			t.Fatalf("%q: words (-want +got)\n%s", args, diff)
		}
		if len(l.flags) != 3 {
			t.Fatalf("%q: got %s, want three flags", args, spell(l))
		}
	})
}

func FuzzSortWords(f *testing.F) {
	f.Add("-i eth1 if udp then udp_dest 1 --for=3s -c -1 -- -x")
	f.Add("-\xff --= -i=")
	f.Fuzz(func(t *testing.T, text string) {
		args := strings.Split(text, " ")
		l, err := sortWords(args, newFlags(&options{}), isTestCommand)
		if err == nil && len(l.words)+len(l.flags) == 0 && l.command == "" && text != "--" {
			t.Errorf("%q: nothing came out, and no error", args)
		}
	})
}
