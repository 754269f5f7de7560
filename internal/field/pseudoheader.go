package field

// OtherCheck is the checksum of a packet whose protocol has no fields here, but is one
// of Others: 16 bits, wherever it stands. No rule names it.
var OtherCheck = &Field{Name: "other_check", Proto: None, Width: 16, Kind: Checksum}

// Other is a protocol without fields whose Internet checksum covers the addresses of
// the IP header, through a pseudo-header.
type Other struct {
	Number uint8 // of the protocol (IANA, Assigned Internet Protocol Numbers)
	Name   string
	// Check is where the checksum stands, in bytes from the start of the header.
	Check int
	// Over are the headers over which it covers their addresses.
	Over Protocol // None: both
	// First, if it is not 0, is the first byte in packets over IPv4, in the bits of
	// FirstMask: they have the version.
	First, FirstMask uint8
	// Shown: over IPv4 not every sender sums a pseudo-header. The checksum covers it
	// where it is right with a pseudo-header and wrong without.
	Shown bool
	// NeverZero: 0 is no checksum; one that comes to 0 is sent as 0xffff.
	NeverZero bool
	// RFC has the checksum and its pseudo-header.
	RFC string
}

// Others are all of the registry of protocol numbers but TCP, UDP and ICMPv6. The pseudo-header is that of IPv4 (RFC 768) or IPv6 (RFC 8200
// section 8.1), of which the addresses follow.
var Others = []Other{
	{27, "RDP version 2", 16, IP, 2, 3, false, false, "RFC 1151: the checksum of TCP, RFC 793 section 3.1"},
	{33, "DCCP", 6, None, 0, 0, false, false, "RFC 4340 section 9.1"},
	{89, "OSPFv3", 12, None, 3, 0xff, false, false, "RFC 5340 appendix A.3.1, RFC 7949 over IPv4"},
	{103, "PIM", 2, IP6, 0, 0, false, false, "RFC 7761 section 4.9"},
	{112, "VRRPv3", 6, None, 0x31, 0xff, true, false, "RFC 9568 section 5.2.8; RFC 5798 has one over IPv4"},
	{135, "Mobility Header", 4, IP6, 0, 0, false, false, "RFC 6275 section 6.1.1"},
	{136, "UDP-Lite", 6, None, 0, 0, false, true, "RFC 3828 section 3.1"},
	{139, "HIP", 4, None, 0, 0, false, false, "RFC 7401 section 5.1.1"},
}

// MostShown is how long a message can be, in bytes, that shows whether its checksum
// covers a pseudo-header: VRRP's header and 255 addresses of IPv4.
const MostShown = 8 + 255*4

// OthersOver are those over an IP header.
func OthersOver(l3 Protocol) []Other {
	var out []Other
	for _, o := range Others {
		if o.Over == None || o.Over == l3 {
			out = append(out, o)
		}
	}
	return out
}
