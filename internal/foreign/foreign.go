// Package foreign recognises lines of iptables, nft, tc, tcprewrite, ovs-ofctl and tcpdump, and
// writes as rules what they say. It knows the words of those tools; whether what it writes are
// rules, package rule says.
package foreign

import (
	"path"
	"slices"
	"strings"
)

// Line is a line of another tool.
type Line struct {
	// Tool is its name.
	Tool string
	// Rules are what it says, in rules that are not yet checked, or "" where that cannot be said.
	Rules string
	// Interface is the one that it names, or "".
	Interface string
	// Out: it is for packets that leave.
	Out bool
	// Mapped: it maps replies back too, as the rules do with replies behind them, if they can.
	Mapped bool
	// Note is what else should be known, or, without Rules, who does what it asks for; or "".
	Note string
}

// Notes for what rules do not do.
const (
	noConnections = "rules know no connections, so the way back is a rule of its own"
	onlyStateful  = "rules know no connections: this is left to nft or iptables"
	noLog         = "packets are counted, not logged: tcpdump shows them"
	noMarks       = "marks are not in packets: they are left to nft, iptables or tc"
	noCopy        = "packets are not copied: tc can, with its action mirred egress mirror"
	noRate        = "there is no limit of a rate: it is left to tc or nft"
	noDelay       = "packets are not delayed: netem does that"
	noHeaders     = "headers are neither added nor removed: it is left to tc"
	noJump        = "there are no chains to jump to: the first rule that matches acts"
)

// readers read the words behind the name of a tool.
var readers = map[string]func(*reader){
	"iptables": (*reader).iptables, "ip6tables": (*reader).iptables, "nft": (*reader).nft, "tc": (*reader).tc,
	"tcprewrite": (*reader).tcprewrite, "ovs-ofctl": (*reader).openFlow, "tcpdump": (*reader).tcpdump, "tshark": (*reader).tcpdump,
}

// Recognise reads a line of another tool, with or without its name before it. Words that are
// rules, or that begin as rules do, are none.
func Recognise(words []string) (Line, bool) {
	words = strings.Fields(strings.NewReplacer(`"`, " ", `'`, " ").Replace(strings.Join(words, " ")))
	for len(words) > 0 && (words[0] == "sudo" || words[0] == "$" || words[0] == "#") {
		words = words[1:]
	}
	if len(words) == 0 {
		return Line{}, false
	}
	tool, rest := path.Base(words[0]), words[1:]
	tool = strings.TrimSuffix(strings.TrimSuffix(tool, "-nft"), "-legacy")
	if readers[tool] == nil {
		tool, rest = toolOf(words), words
	}
	read := readers[tool]
	if read == nil {
		return Line{}, false
	}
	r := &reader{Line: Line{Tool: tool}, rest: rest, ip: "ip"}
	if tool == "ip6tables" {
		r.ip = "ip6"
	}
	read(r)
	if r.Rules == "" && !r.failed {
		r.write()
	}
	return r.Line, true
}

// Tools by words that only they have.
var (
	iptablesWords   = strings.Fields("--dport --sport --dports --sports --destination-port --source-port --to-ports --to-port --to-destination --to-source --set-dscp --set-dscp-class --set-tos --ttl-set --ttl-dec --ttl-inc --hl-set --set-mss --clamp-mss-to-pmtu --icmp-type --tcp-flags --ctstate --set-mark")
	iptablesFlags   = strings.Fields("-A -I -t -m -p -s")
	iptablesTargets = strings.Fields("ACCEPT DROP REJECT REDIRECT DNAT SNAT MASQUERADE LOG MARK TTL HL DSCP TOS TCPMSS TEE RETURN CHECKSUM NFLOG CONNMARK")
	tcprewriteWords = strings.Fields("--portmap --srcipmap --dstipmap --pnat --enet-dmac --enet-smac --enet-vlan --enet-vlan-tag --ttl --tos --fixcsum --tclass --flowlabel")
	nftStarts       = strings.Fields("iifname iif oifname oif meta")
)

// toolOf is the tool that words without its name are for, or "".
func toolOf(words []string) string {
	for i, w := range words {
		name, _, _ := strings.Cut(w, "=")
		next := ""
		if i+1 < len(words) {
			next = words[i+1]
		}
		switch {
		case slices.Contains(iptablesWords, w), slices.Contains(iptablesFlags, w) && next != "" && next != "if",
			w == "-j" && slices.Contains(iptablesTargets, next):
			return "iptables"
		case slices.Contains(tcprewriteWords, name):
			return "tcprewrite"
		case strings.Contains(w, "actions=") && strings.Contains(w, ","):
			return "ovs-ofctl"
		}
	}
	switch {
	case len(words) < 3:
	case words[0] == "filter" || words[0] == "qdisc":
		return "tc"
	case (words[0] == "add" || words[0] == "insert") && words[1] == "rule", slices.Contains(nftStarts, words[0]):
		return "nft"
	}
	return ""
}

// reader reads the words of a line into conditions and actions.
type reader struct {
	Line
	rest   []string
	ip     string // ip or ip6, where the line does not say itself
	proto  string // tcp, udp or another one that the line names, or ""
	failed bool
	conds  []string
	acts   []string
	all    bool // it says itself that it is for all packets
}

// next takes the next word, or "".
func (r *reader) next() string {
	if len(r.rest) == 0 {
		return ""
	}
	w := r.rest[0]
	r.rest = r.rest[1:]
	return w
}

func (r *reader) peek() string {
	if len(r.rest) == 0 {
		return ""
	}
	return r.rest[0]
}

// accept takes the next word if it is one of these.
func (r *reader) accept(words ...string) bool {
	if len(r.rest) > 0 && slices.Contains(words, r.rest[0]) {
		r.next()
		return true
	}
	return false
}

func (r *reader) cond(words ...string) { r.conds = append(r.conds, strings.Join(words, " ")) }
func (r *reader) act(words ...string)  { r.acts = append(r.acts, strings.Join(words, " ")) }

// fail gives up on a line that rules cannot express; the note names the tool that does it.
func (r *reader) fail(note string) {
	r.failed, r.Rules, r.Note, r.rest = true, "", note, nil
}

// write writes the rule of the conditions and actions. A verdict for all packets is only
// written where the line itself says that.
func (r *reader) write() {
	if r.proto != "" && !r.implied(r.proto) {
		r.conds = append([]string{r.proto}, r.conds...)
	}
	if rest := slices.DeleteFunc(slices.Clone(r.acts), func(a string) bool { return a == "pass" }); len(rest) > 0 {
		r.acts = rest // passing is what becomes of packets anyway
	}
	sends := slices.ContainsFunc(r.acts, func(a string) bool { return a == "drop" || strings.HasPrefix(a, "redirect") })
	switch {
	case len(r.acts) == 0 && len(r.conds) == 0, sends && len(r.conds) == 0 && !r.all:
		r.fail(r.Note)
		return
	case len(r.conds) == 0:
		r.conds = []string{"all"}
	}
	r.Rules = "if " + strings.Join(r.conds, " ")
	if len(r.acts) > 0 {
		r.Rules += " then " + strings.Join(r.acts, " ")
	}
}

// implied reports whether a condition names a field of a protocol already.
func (r *reader) implied(proto string) bool {
	return slices.ContainsFunc(r.conds, func(c string) bool { return strings.HasPrefix(c, proto+"_") || c == proto })
}

// port is the field of a port, of the protocol that the line names.
func (r *reader) port(side string) string {
	switch {
	case r.proto == "tcp" || r.proto == "udp":
		return r.proto + "_" + side
	case side == "src":
		return "sport"
	}
	return "dport"
}

// address is the field of an address.
func (r *reader) address(side, value string) string {
	if strings.Contains(value, ":") {
		return "ip6_" + side
	}
	return "ip_" + side
}

// mapped sets an address, a port or both, as ADDRESS[:PORT].
func (r *reader) mapped(side, to string) {
	address, port := to, ""
	switch i := strings.LastIndexByte(to, ':'); {
	case strings.HasPrefix(to, "["):
		address, port, _ = strings.Cut(strings.TrimPrefix(to, "["), "]")
		port = strings.TrimPrefix(port, ":")
	case i >= 0 && strings.Count(to, ":") == 1:
		address, port = to[:i], to[i+1:]
	}
	if address != "" {
		r.act(r.address(side, address), address)
	}
	if port != "" {
		r.act(r.port(side), port)
	}
	r.Mapped, r.Note = true, noConnections
}

// ports is a list of ports with ranges as rules have them.
func ports(list string) string { return strings.ReplaceAll(list, ":", "-") }
