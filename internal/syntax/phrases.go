package syntax

import (
	"slices"
	"strconv"
	"strings"
	"sync"

	"repacket/internal/field"
)

// phrase is a row of words as other tools and people have them, and what may be meant.
type phrase struct {
	// words are matched one by one: | separates alternatives, and classes of words are in
	// capitals, see wordClasses.
	words []string
	// begins: it can only be the beginning of a rule, which ^ stands for.
	begins bool
	// means are what the words may mean, the likeliest first; $1 is the first word.
	means []string
}

// maxPhrase is how many words the longest phrase has.
const maxPhrase = 10

// phrases are in the order of likeliness; of those that match, the longest is suggested.
// They are read when a rule is wrong, not when the process starts.
var phrases = sync.OnceValue(func() []phrase { return readPhrases(phraseTable) })

const phraseTable = `
FIELD port|ports|portrange|host|net|addr|address|number|value VALUE = $1 $3
tcp|udp port|ports|portrange PORT = $1_dest $3 or $1_src $3
dst|dest|destination|to port|ports|portrange PORT = dport $3
src|source|from port|ports|portrange PORT = sport $3
port|ports|portrange PORT = dport $2 or sport $2
tcp|udp PORT = $1_dest $2 or $1_src $2
th|meta|l4 dport|sport PORT = $2 $3
meta l4proto PROTO = $3
PORTNAME = dport $1
dns = dport domain
src|source|from host|net|ip|addr|address|mac IP4 = ip_src $3
dst|dest|destination|to host|net|ip|addr|address|mac IP4 = ip_dest $3
src|source|from host|net|ip|addr|address|mac IP6 = ip6_src $3
dst|dest|destination|to host|net|ip|addr|address|mac IP6 = ip6_dest $3
src|source|from host|net|ip|addr|address|mac MAC = eth_src $3
dst|dest|destination|to host|net|ip|addr|address|mac MAC = eth_dest $3
src|source|from|saddr IP4 = ip_src $2
dst|dest|destination|to|daddr IP4 = ip_dest $2
src|source|from|saddr IP6 = ip6_src $2
dst|dest|destination|to|daddr IP6 = ip6_dest $2
src|source|from|saddr MAC = eth_src $2
dst|dest|destination|to|daddr MAC = eth_dest $2
ip|ipv4|ip4 host|net|addr|address IP4 = ip_src $3 or ip_dest $3
host|net|addr|address|ip|ipv4|ip4 IP4 = ip_src $2 or ip_dest $2
host|net|addr|address|ip|ip6|ipv6 IP6 = ip6_src $2 or ip6_dest $2
IP4 = ip_src $1 or ip_dest $1
IP6 = ip6_src $1 or ip6_dest $1
MAC = eth_src $1 or eth_dest $1
dnat to IP4 = then ip_dest $3
snat to IP4 = then ip_src $3
^ change|rewrite|replace|modify|make|set FIELD to|with|= VALUE = if all then $2 $4
^ change|rewrite|replace|modify|make FIELD VALUE = if all then $2 $3
^ map|change|rewrite|translate|redirect tcp|udp NUM to NUM = if $2_dest $3 then $2_dest $5
^ map|change|rewrite|translate|redirect tcp|udp port NUM to NUM = if $2_dest $4 then $2_dest $6
^ map|change|rewrite|translate|redirect port NUM to NUM = if dport $3 then dport $5
^ map|change|rewrite|translate dst|dest|destination ip|address IP4 to IP4 = if ip_dest $4 then ip_dest $6
^ map|change|rewrite|translate src|source ip|address IP4 to IP4 = if ip_src $4 then ip_src $6
^ clamp mss to NUM = if tcp_syn on then tcp_mss atmost $4
^ clamp mss NUM = if tcp_syn on then tcp_mss atmost $3
clamp mss to NUM = tcp_mss atmost $4
clamp mss NUM = tcp_mss atmost $3
dont|don_t|no fragment = ip_flag_df on
syn|fin|rst|psh|ack|urg flag|bit set|on = tcp_$1 on
syn|fin|rst|psh|ack|urg flag|bit = tcp_$1 on
bad|wrong|corrupt|invalid checksum|csum|chksum = udp_check bad or tcp_check bad or ip_check bad
FIELD wrong|invalid|corrupt = $1 bad
dhcp = udp_dest 67,68
code NUM = icmp_code $2
dnat IP4 = ip_dest $2
snat IP4 = ip_src $2
dnat to IP6 = ip6_dest $3
snat to IP6 = ip6_src $3
ether|ethernet|mac src|source|saddr MAC = eth_src $3
ether|ethernet|mac dst|dest|destination|daddr MAC = eth_dest $3
ether|ethernet|eth host|addr|mac MAC = eth_src $3 or eth_dest $3
ether|ethernet|eth|mac MAC = eth_src $2 or eth_dest $2
ether|ethernet|eth proto|protocol|type VALUE = eth_type $3
vlan|cvlan NUM = $1_id $2
vlan|cvlan vid|tag|number NUM = $1_id $3
dot1q|8021q|802.1q id|vlan NUM = vlan_id $3
icmp|icmp6 NUM = $1_type $2
icmp icmptype eq|= VALUE = icmp_type $4
icmp6 icmp6type eq|= VALUE = icmp6_type $4
tcp tcpflags TCPFLAG ne|gt 0 = $3 on
tcp tcpflags eq TCPFLAG = tcp_flags $4
tcp 13 2 ne|gt 0 = tcp_syn on
ip 8 COMPARE NUM = ip_ttl $3 $4
ip 1 COMPARE NUM = ip_tos $3 $4
ip 9 COMPARE NUM = ip_protocol $3 $4
tcp option maxseg size = tcp_mss
tcp option mss = tcp_mss
option maxseg size = tcp_mss
maxseg size = tcp_mss
hop limit|count = ip6_hlim
time to live = ttl
traffic class = dscp
flow label = ip6_flow
window size = tcp_window
tcp window size = tcp_window
total length = ip_tot_len
packet length|size = ip_tot_len
all|any|every packets|traffic|packet|frames = all
everything = all
FIELD less|below|under|smaller|lower than NUM = $1 lt $4
FIELD greater|more|above|over|bigger|higher than NUM = $1 gt $4
FIELD less|below|under|smaller|lower NUM = $1 lt $3
FIELD greater|more|above|over|bigger|higher NUM = $1 gt $3
FIELD at least NUM = $1 ge $4 or $1 atleast $4
FIELD at most NUM = $1 le $4 or $1 atmost $4
FIELD between NUM and NUM = $1 $3-$5
FIELD between NUM - NUM = $1 $3-$5
FIELD range|between NUM = $1 $3
FIELD isnt|neq|isnot|unequal VALUE = $1 ne $3
FIELD is not VALUE = $1 ne $4
FIELD not in VALUE = $1 ne $4
FIELD clamp|max|cap|ceiling|limit|upto NUM = $1 atmost $3
FIELD clamp|max|cap|limit to|at NUM = $1 atmost $4
clamp|cap|limit FIELD to|at NUM = $2 atmost $4
clamp|cap|limit FIELD NUM = $2 atmost $3
FIELD min|floor NUM = $1 atleast $3
FIELD dec|decr|decrement|sub|subtract|minus NUM = $1 -$3
FIELD inc|incr|increment|add|plus NUM = $1 +$3
FIELD dec|decr|decrement|sub|subtract by NUM = $1 -$4
FIELD inc|incr|increment|add by NUM = $1 +$4
dec|decr|decrement|decrease FIELD by NUM = $2 -$4
inc|incr|increment|increase FIELD by NUM = $2 +$4
dec|decr|decrement|decrease FIELD NUM = $2 -$3
inc|incr|increment|increase FIELD NUM = $2 +$3
FIELD dec|decr|decrement = $1 -1
FIELD inc|incr|increment = $1 +1
dec|decr|decrement|decrease FIELD = $2 -1
inc|incr|increment|increase FIELD = $2 +1
FIELD = FIELD - NUM = $1 -$5
FIELD = FIELD + NUM = $1 +$5
FIELD = FIELD SIGNED = $1 $4
FIELD - = NUM = $1 -$4
FIELD + = NUM = $1 +$4
FIELD VALUE - gt VALUE = $1 $2 then $1 $5
FIELD - gt VALUE = $1 $3
set|change|rewrite|replace|modify|mod|make|assign|update|munge FIELD to|with|set|into|= VALUE = $2 $4
change|rewrite|replace|modify|mod|make|assign|update|munge FIELD = $2
FIELD set VALUE = then $1 $3
drop PERCENT = if chance $2 then drop
drop PERCENT PROTO = if $3 chance $2 then drop
drop PERCENT of PROTO = if $4 chance $2 then drop
swap ports = swap tcp or swap udp
swap mac|macs|ethernet|ether = swap eth
swap addresses|ips|ipv4|addrs|hosts = swap ip
swap ipv6 = swap ip6
chance|probability|prob|random NUM percent = chance $2%
probability|prob|random|sample PERCENT = chance $2
PROTO ( NAME = VALUE ) = $1_$3 $5
PROTO ( NAME = VALUE , NAME = VALUE ) = $1_$3 $5 $1_$7 $9
pkt|packet|p PROTO DOTNAME eq|= VALUE = $2_$3 $5
pkt|packet|p PROTO DOTNAME VALUE = $2_$3 $4
icmp echo request|reply = icmp_type echo-$3
icmp ping = icmp_type echo-request
ping = icmp_type echo-request
arp who-has = arp_op request
arp is-at = arp_op reply
tcp_flags s = tcp_syn on
tcp_flags sa|s. = tcp_flags syn-ack
tcp flag NAME = tcp_$3 on
true|always = all
untagged = not vlan
tagged = vlan
FIELD VALUE replace|change|becomes with|to|by VALUE = $1 $2 then $1 $5
FIELD VALUE = gt VALUE = $1 $2 then $1 $5
FIELD VALUE then VALUE = $1 $2 then $1 $4
FIELD VALUE - gt FIELD VALUE = $1 $2 then $5 $6
FIELD = VALUE - gt FIELD = VALUE = $1 $3 then $6 $8
FIELD = VALUE = gt FIELD = VALUE = $1 $3 then $6 $8
FIELD = VALUE - gt VALUE = $1 $3 then $1 $6
FIELD : = VALUE = $1 $4
FIELD VALUE or VALUE = $1 $2,$4
FIELD eq|= VALUE or VALUE = $1 $3,$5
FIELD COMPARE VALUE and COMPARE VALUE = $1 $2 $3 and $1 $5 $6
FIELD lt gt VALUE = $1 ne $4
swap PROTO src|source|saddr|sport dst|dest|destination|daddr|dport = swap $2
swap PROTO addresses|ports|macs = swap $2
swap src|source|saddr dst|dest|destination|daddr = swap ip or swap eth
swap src|source and dst|dest|destination = swap ip or swap eth
swap sport dport = swap udp or swap tcp
fix checksum|csum|checksums|chksum = udp_check fix or tcp_check fix or ip_check fix
fix PROTO checksum|csum|chksum = $2_check fix
recalculate|recompute checksum|csum|checksums = udp_check fix or tcp_check fix or ip_check fix
then drop PERCENT = chance $3 then drop
then random drop PERCENT = chance $4 then drop
ecn capable = ecn ect0,ect1
broadcast = eth_dest ff:ff:ff:ff:ff:ff
multicast = ip_dest 224.0.0.0/4
fragment|fragments|fragmented|frag = ip_flag_mf on or ip_offset gt 0
clear|unset|disable df|mf = ip_flag_$2 off
clear|unset|disable FLAGNAME = $2 off
set|enable df|mf = ip_flag_$2 on
ip_flags df|mf = ip_flag_$2 on
greater NUM = ip_tot_len gt $2
less NUM = ip_tot_len lt $2
probability|prob|random FRACTION = chance $2
VALUE counter = $1
PROTO counter = $1
return|accept|continue|permit = pass
keep state|states = replies
with|and|keep|track replies|connections|state = replies
both ways|directions = replies
in both directions = replies
stateful nat = replies
and back = replies
`

func readPhrases(table string) []phrase {
	var out []phrase
	for line := range strings.Lines(strings.TrimSpace(table)) {
		i := strings.LastIndex(line, " = ")
		ph := phrase{words: strings.Fields(line[:i]), means: strings.Split(strings.TrimSpace(line[i+len(" = "):]), " or ")}
		if ph.begins = ph.words[0] == "^"; ph.begins {
			ph.words = ph.words[1:]
		}
		out = append(out, ph)
		if last := len(ph.words); last > 1 && valueClasses[ph.words[last-1]] {
			out = append(out, ph.withIs())
		}
	}
	return out
}

// valueClasses are the classes of values before which people put is.
var valueClasses = map[string]bool{"IP4": true, "IP6": true, "MAC": true, "PORT": true}

// withIs is the phrase with is, or a sign for it, before the value at its end.
func (ph phrase) withIs() phrase {
	last := len(ph.words)
	out := phrase{begins: ph.begins, words: slices.Insert(slices.Clone(ph.words), last-1, "is|are|eq|=|equals")}
	for _, means := range ph.means {
		out.means = append(out.means, strings.ReplaceAll(means, "$"+strconv.Itoa(last), "$"+strconv.Itoa(last+1)))
	}
	return out
}

// wordClasses are the classes of words in phrases.
var wordClasses = map[string]func(string) bool{
	"NUM":      isCount,
	"PORT":     func(w string) bool { return isCount(w) || isPort(w) },
	"IP4":      func(w string) bool { return AddressKind(w) == field.Address4 },
	"IP6":      func(w string) bool { return AddressKind(w) == field.Address6 },
	"MAC":      func(w string) bool { return AddressKind(w) == field.MAC },
	"VALUE":    func(w string) bool { return looksLikeValue(w) || isValueName(w) },
	"PERCENT":  func(w string) bool { return IsDigit(w[0]) && strings.HasSuffix(w, "%") },
	"FRACTION": func(w string) bool { return strings.HasPrefix(w, "0.") },
	"FLAGNAME": func(w string) bool { f, ok := field.ByName(w); return ok && f.Kind == field.Flag },
	"SIGNED":   func(w string) bool { return (w[0] == '-' || w[0] == '+') && len(w) > 1 && isCount(w[1:]) },
	"COMPARE":  func(w string) bool { return comparisons[w] },
	"NAME":     func(w string) bool { return IsLetter(w[0]) },
	"DOTNAME":  func(w string) bool { return w[0] == '.' && len(w) > 1 },
	"TCPFLAG":  func(w string) bool { _, ok := field.ByName(strings.Replace(w, "-", "_", 1)); return ok },
	"PORTNAME": func(w string) bool {
		_, header := field.ProtocolByName(w)
		return !header && isPort(w) && !keywords[w]
	},
	"PROTO": func(w string) bool {
		_, ok := field.ProtocolByName(strings.TrimPrefix(w, "/"))
		return ok
	},
	"FIELD": func(w string) bool {
		_, ok := ResolveField(Token{Text: w})
		return ok
	},
}

// isCount reports whether a word is a number or a range of numbers.
func isCount(w string) bool {
	low, high, ranged := strings.Cut(w, "-")
	if !ranged {
		high = "0"
	}
	for _, n := range []string{low, high} {
		if _, err := strconv.ParseUint(n, 0, 64); err != nil {
			return false
		}
	}
	return true
}

// isPort reports whether a word is the name of a port.
func isPort(w string) bool {
	_, ok := field.MustByName("tcp_dest").Names.Lookup(w)
	return ok
}

// Phrases suggests what words of other tools mean that stand at, or right before, a place in a
// piece of the source. What a word means that stands alone is less certain, and apart.
func Phrases(source string, piece, at Span) (rows, single []Suggestion) {
	x := text{source: source[:piece.End]}
	for _, t := range looseTokens(source[piece.Start:piece.End]) {
		t.At = Span{t.At.Start + piece.Start, t.At.End + piece.Start}
		x.tokens = append(x.tokens, t)
	}
	wrong := slices.IndexFunc(x.tokens, func(t Token) bool { return t.At.End > at.Start })
	if wrong < 0 {
		wrong = len(x.tokens)
	}
	for length := maxPhrase; length > 1; length-- { // the longest first
		for start := max(0, wrong-length); start <= wrong && start+length <= len(x.tokens); start++ {
			words := x.tokens[start : start+length]
			begins := start == 0 || x.tokens[start-1].Text == ";" || x.tokens[start-1].Text == "else"
			begins = begins && !x.restOfStatement(words[0], "if")
			for _, ph := range phrases() {
				if (begins || !ph.begins) && ph.matches(words) {
					rows = append(rows, ph.meant(x, words)...)
				}
			}
		}
	}
	for i := max(0, wrong-1); i < min(wrong+1, len(x.tokens)); i++ {
		for _, ph := range phrases() {
			if ph.matches(x.tokens[i:i+1]) && (i == 0 || slices.Contains(clauseStarts, x.tokens[i-1].Text)) {
				single = append(single, ph.meant(x, x.tokens[i:i+1])...)
			}
		}
	}
	return rows, single
}

// clauseStarts are the words behind which a test or an action begins.
var clauseStarts = strings.Fields("if and or not then else ( , ;")

// matches reports whether words are those of the phrase.
func (ph phrase) matches(words []Token) bool {
	if len(words) != len(ph.words) {
		return false
	}
	for i, want := range ph.words {
		is := wordClasses[want]
		switch text := words[i].Text; {
		case is != nil:
			if !words[i].word && want != "COMPARE" || !is(text) {
				return false
			}
		case !slices.Contains(strings.Split(want, "|"), text):
			return false
		}
	}
	return true
}

// meant suggests what the phrase means in the place of words.
func (ph phrase) meant(x text, words []Token) []Suggestion {
	at := Span{words[0].At.Start, words[len(words)-1].At.End}
	at.End += len(x.source[at.End:]) - len(strings.TrimLeft(x.source[at.End:], `]"'`)) // as of tcp[tcpflags]
	var out []Suggestion
	for i, means := range ph.means {
		text := means
		for n := len(words); n > 0; n-- {
			text = strings.ReplaceAll(text, "$"+strconv.Itoa(n), wordText(x.source, words[n-1]))
		}
		s := Replace(didYouMean, at, text, "")
		switch first, _, _ := strings.Cut(text, " "); first {
		case "":
			s = x.without(words[0]).Whole()
		case "if", "then": // no piece of a rule
			s = Replace("", at, text, "").Whole()
		}
		if s.Also = i > 0; s.Also {
			s.Lead = " or "
		}
		out = append(out, s)
	}
	return out
}

// wordText is a word of a phrase as it stands in rules.
func wordText(source string, t Token) string {
	switch {
	case !t.word, strings.HasPrefix(t.Text, "tcp-"):
		return strings.Replace(t.Text, "tcp-", "tcp_", 1)
	case strings.Contains(source[t.At.Start:t.At.End], " "): // a field with a blank
		return t.Text
	}
	return strings.TrimLeft(source[t.At.Start:t.At.End], "./")
}
