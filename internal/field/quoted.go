package field

// An ICMP error quotes the packet that it answers: behind 8 bytes of its own, the IP
// header and what follows it, of which the first 8 bytes are always there (RFC 792,
// RFC 4443 section 3). Each field that can be told from so much has a twin in the
// quote.
const quotedLen = 8

// QuoteAt is where in an ICMP or ICMPv6 error the quoted packet begins, in bytes.
const QuoteAt = 8

// The types of the messages that quote a packet and tell what became of it: unreachable,
// source quench, time exceeded and parameter problem (RFC 792), and the errors of RFC
// 4443. A redirect speaks of the route to an address and is none of them.
var (
	ICMPErrors  = NewSet(Range{V(3), V(4)}, Range{V(11), V(12)})
	ICMP6Errors = NewSet(Range{V(1), V(4)})
)

// quotedHeader are the headers in a quote, by what they are in a packet of their own.
var quotedHeader = map[Protocol]Protocol{
	IP: QuotedIP, IP6: QuotedIP6, TCP: QuotedTCP, UDP: QuotedUDP, ICMP: QuotedICMP, ICMP6: QuotedICMP6,
}

var (
	allFields    []*Field
	unquoted     = map[*Field]*Field{}
	quotedOf     = map[*Field]*Field{}
	quotedByName = map[string]*Field{}
)

// AllFields lists the quoted fields too, behind the others.
func AllFields() []*Field { return allFields }

// Quoted is the twin of a field in the packet that an ICMP error quotes, or nil if
// the quote need not have it.
func Quoted(f *Field) *Field { return quotedOf[f] }

// Unquote is the field of which f is the twin in a quote, or nil.
func Unquote(f *Field) *Field { return unquoted[f] }

// QuotedHeader is the header p in the packet that an ICMP error quotes, or None.
func QuotedHeader(p Protocol) Protocol { return quotedHeader[p] }

// Unquoted is the header that p is in a packet of its own, if it is a quoted one.
func Unquoted(p Protocol) Protocol {
	for own, quoted := range quotedHeader {
		if quoted == p {
			return own
		}
	}
	return p
}

// IsQuoted reports whether p is a header in the packet that an ICMP error quotes.
func (p Protocol) IsQuoted() bool { return p >= QuotedIP }

// addQuoted makes the twins of fields. The checksum of TCP has one too, although a
// quote may end before it.
func addQuoted() {
	allFields = append(allFields, table...)
	for _, f := range table {
		p, ok := quotedHeader[f.Proto]
		if !ok || f.Byte()+f.Size() > p.Header().Fixed && f.Kind != Checksum {
			continue
		}
		q := *f
		q.Name, q.Aliases, q.Proto, q.Doc = quotedName(f.Name), nil, p, f.Doc+" of the quoted packet"
		if f.Only != nil {
			q.Only = &Only{quotedName(f.Only.Field), f.Only.In}
		}
		q.Covers, q.Structural = quotedCovers(f), false // a quote is never segmented
		allFields = append(allFields, &q)
		quotedOf[f], unquoted[&q], quotedByName[q.Name] = &q, f, &q
	}
}

func quotedName(name string) string { return "quoted_" + name }

// quotedCovers are the checksums that cover the twin of f: those of the quote and,
// over all of these, that of the message. The quote is at an even place there.
func quotedCovers(f *Field) []Cover {
	var out []Cover
	for _, c := range f.Covers {
		c.Check = quotedName(c.Check)
		out = append(out, c)
	}
	if f.Proto != IP6 && f.Proto != ICMP6 {
		out = append(out, Cover{Check: headerCheck[ICMP], Weight: f.directWeight()})
	}
	if f.Proto != IP && f.Proto != ICMP {
		out = append(out, Cover{Check: headerCheck[ICMP6], Weight: f.directWeight()})
	}
	return out
}
