package cli

// taskExamples are what people want done, and the line for it. A test checks each, and
// that together they use all of the language.
var taskExamples = []example{
	{"Count packets, change none", "-i eth1 if udp_dest 443"},
	{"Another port", "-i eth1 if udp_dest 443 then udp_dest 8080"},
	{"Another port, with replies from the old one; nobody sees the new one", "-i eth1 if tcp_dest 443 then tcp_dest 8080 replies else if tcp_dest 8080 then drop"},
	{"A range of ports to one port; a range, shifted", "-i eth1 if udp_dest 20000-50000 then udp_dest 443 else if tcp_dest 8000-8099 then tcp_dest +1000"},
	{"TCP and UDP alike", "-i eth1 if dport 53 then dport 5353"},
	{"Another address; a prefix, host bits kept", "-i eth1 if ip_dest 203.0.113.0/24 then ip_dest 10.1.2.0/24"},
	{"Many addresses, from a CSV file", "-i eth1 if ip_dest @old then ip_dest @new from moves.csv"},
	{"Mark voice", "-i eth1 -Q out if udp_dest 16384-32767 and not ip_dscp eq ef then ip_dscp ef"},
	{"TTL of outgoing packets", "-i eth1 -Q out if tcp or udp then ttl 65"},
	{"One hop less; a lower and an upper bound", "-i eth1 if ip_ttl gt 64 ip_ttl lt 128 then ip_ttl -1 else if ip_ttl le 4 then ip_ttl atleast 5"},
	{"Clamp the MSS", "-i eth1 if tcp_syn on and tcp_mss ge 1361 then tcp_mss atmost 1360"},
	{"Lose one packet in a hundred", "-i eth1 if ip_src 192.0.2.7 chance 1% then drop"},
	{"Another VLAN, and out of another interface", "-i eth1 if vlan_id 100 then vlan_id 200 redirect eth2"},
	{"Answer pings", "-i eth1 if icmp_type echo-request then icmp_type echo-reply swap eth swap ip reflect"},
	{"Many senders out of one", "-i eth1 if udp_dest 5201 then ip_src random 10.0.0.0/8"},
	{"Spread flows over paths, each on one of them", "-i eth1 -Q out if tcp or udp then ip6_flow hash"},
	{"A field into another", "-i eth1 if arp_op request then arp_tpa arp_spa"},
	{"A wrong checksum on purpose, or a correct one", "-i eth1 if udp_dest 53 then udp_check bad else if udp_dest 67 then udp_check fix"},
	{"Allow SSH and ARP for a minute, nothing else", "-i eth1 --for 60s if tcp_dest 22 or arp then pass else drop"},
	{"Everything but DNS", "-i eth1 if udp_dest ne 53 then ip_dscp cs1"},
	{"Every packet", "-i eth1 -Q out if all then ip_dscp 0"},
}

const packetsTopic = `PACKETS

  A rule that matches nothing and one that works look alike until somebody
  looks or counts. This page says how to see packets before and after, how to
  count, and where tcpdump looks.

BEFORE AND AFTER

    repacket -i eth1 if udp_dest 443              without then: a dry run, which
                                                  shows the packets that match
    repacket -i eth1 -v if udp then ip_ttl 9      packets on which a rule acts
    repacket -i eth1 -vv -x if udp then ip_ttl 9  all fields, and the bytes
    repacket -i eth1 --show 5 if udp then ip_ttl 9        five of them
    repacket -i eth1 -w both.pcapng if udp then ip_ttl 9  for Wireshark: both
                                                  sides, on two interfaces

  A line is what arrived, as tcpdump shows it, a bar, and each field that
  changed, old → new. A checksum that is shown as "offloaded" is computed
  later, by the stack or by the hardware.

COUNTING

    repacket -i eth1 if tcp if udp if all         a line for each rule
    repacket -i eth1 -c 10 if udp_dest 443        ends after ten packets

  A dry run counts the packets of a rule and changes none. Only the first rule
  that matches a packet counts it. The summary comes at the end (Ctrl-C), and
  on SIGUSR1 while the run goes on; "repacket list" shows the counts of rules
  that are attached.

  Nothing is counted? --why says which test of the rule fails, and what is
  there instead:

    repacket -i eth1 --why if udp_dest 443

  Or test in this order:

    repacket -i eth1 if all                       packets at all?
    repacket -i eth1 -Q out if all                the other direction?
    repacket -i eth1 if udp                       that header?
    repacket -i eth1 if dport 443                 that field?

  0 packets "if all" on a bridge: attach to its ports, through which bridged
  packets pass. If tcpdump sees packets that no rule counts, it has set the
  interface to promiscuous mode: ip link set eth1 promisc on. Only outermost
  headers are tested: what is inside a tunnel is seen on the tunnel's own
  interface.

WHERE TCPDUMP LOOKS

  A packet meets, in this order:

    incoming   XDP  ->  tcpdump  ->  tc  ->  routing, firewall, sockets
    outgoing   sockets, routing, firewall  ->  tc  ->  tcpdump  ->  the wire

  So tcpdump on the interface of the rules shows

    --hook xdp, xdp-generic    packets as rewritten; none that are dropped,
                               reflected or redirected
    --hook tc, incoming        packets as they arrived, dropped ones too
    -Q out                     packets as rewritten

  A run says which hook it has taken. To see the other side of it:

    before XDP                 tcpdump on the sender, or take --hook tc
    behind tc, incoming        tcpdump where the packets go next (the other
                               interface of a router, the other end of a
                               veth), or the socket that receives them
    before -Q out              tcpdump where the packets came in; those of this
                               machine itself are seen rewritten only

  In a namespace or a container: ip netns exec NAME tcpdump -i eth0, or
  nsenter -t PID -n tcpdump -i eth0.

  Useful flags: -n (no names), -e (MAC addresses and VLAN tags), -vv (TTL, ToS,
  checksums), -Q in or -Q out (one direction, as here).

"BAD UDP CKSUM", "INCORRECT"

  tcpdump -vv shows this for packets that this machine sends and whose checksum
  is offloaded: the network card computes it after tcpdump has looked. It is no
  error, with rules or without. On veth, in containers and on lo the checksum
  is never computed, and receivers do not verify it: there both ends show it.
  To know, look on the receiving machine, or have it computed early, and back:

    ethtool -K eth1 tx off
    ethtool -K eth1 tx on

  Repacket changes a checksum by exactly as much as its packet: a correct one
  stays correct, a wrong one stays wrong by the same amount. What a receiver
  has refused, it has counted:

    nstat -az UdpInCsumErrors TcpInCsumErrors IcmpInCsumErrors

  An exact value or "fix" cannot reach a checksum that is offloaded: switch
  the sender's offload off first, as above. "bad" does.

PACKETS LARGER THAN THE MTU

  With segmentation offload (GSO, GRO) one packet of up to 64 KiB stands for
  many on the wire. tcpdump shows it as one; tc rewrites it as one, and counts
  what it stands for. ethtool -K eth1 gro off gso off tso off shows them apart.

REWRITTEN, AND STILL NO ANSWER

  Rules know no connections: the answer needs the opposite rule, which the word
  replies makes. A new source may fail the reverse path filter, and a new
  destination may be nobody's address:

    nstat -az TcpExtIPReversePathFilter IpInAddrErrors IpInDiscards
    ip route get 192.0.2.7
    repacket doctor -i eth1

  Firewalls see incoming packets behind the rules and outgoing ones before
  them.
`
