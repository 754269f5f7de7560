package cli

const rootHelp = `Rewrite header fields of live packets, in the kernel, from one line.

A rule says which packets, and what becomes of them:

  if CONDITION then ACTIONS

Conditions are fields with values (443, 80,443, 10.0.0.0/8), headers (udp), all,
and chance 5%, joined by and, or, not, and compared by ne, lt, le, gt, ge.
Actions give a field a value, add to it (+1, -1), bound it (atleast, atmost),
copy another one, draw it at random, hash the flow, fix a checksum or make it
bad; swap source and destination; pass, drop, reflect or redirect the packet.
Without then a rule is a dry run, which counts packets and changes none. The
first rule that matches acts. Flags may stand anywhere.

A file of rules (-f) holds them one after the other, over as many lines as they
take; # begins a comment. A rule that ends in from FILE stands for one rule for
each row of a CSV file, whose first row names the columns; @NAME is the value of
a column. In a file of rules FILE is relative to the folder of that file.`

// examples are those in the help of each command. A test reads them as the command does,
// and checks their rules.
var examples = map[string]string{
	"repacket": `  repacket -i eth1 if udp_dest 443 then udp_dest 8080
  repacket -i eth1 if ip_src 10.20.0.0/16 then ip_dscp af31
  repacket -c 10 if tcp_syn on
  repacket -i eth1 if ip_dest @old then ip_dest @new from moves.csv
  repacket -i eth1 -Q out if tcp or udp then ttl 65
  repacket -i eth1 if tcp_syn on then tcp_mss atmost 1360
  repacket -i eth1 if udp chance 1% then drop
  repacket -i eth1 if udp_dest 7 then swap eth swap ip swap udp reflect
  repacket -r in.pcap -w out.pcap if udp_dest 443 then udp_dest 8080
  repacket check -f rules.txt
  repacket attach -i eth1 if all then ip_ttl 64
  repacket detach -i eth1`,
	"attach": `  repacket attach -i eth1 if udp_dest 443 then udp_dest 8080
  repacket attach -i eth1 -Q out if udp_src 8080 then udp_src 443
  repacket attach -i eth1 --for 1h if all then ip_dscp 0
  repacket attach -i eth1 --protect 192.0.2.9 if ip_src 192.0.2.8 then drop
  repacket attach -i eth1 -f rules.txt`,
	"confirm": `  repacket confirm -i eth1
  repacket confirm -i eth1 -Q out`,
	"replace": `  repacket replace -i eth1 if udp_dest 443 then udp_dest 8081
  repacket replace -i eth1 --revert-after 60s if udp_dest 443 then udp_dest 8081
  repacket replace -i eth1 -f rules.txt`,
	"detach": `  repacket detach -i eth1
  repacket detach -i eth1 -Q out`,
	"list": `  repacket list
  repacket list -i eth1
  repacket list --json`,
	"top": `  repacket top
  repacket top --all-namespaces`,
	"exporter": `  repacket exporter
  repacket exporter --metrics 0.0.0.0:10473`,
	"check": `  repacket check if udp_dest 443 then udp_dest 8080
  repacket check -Q out if tcp or udp then ttl 65
  repacket check --protect 192.0.2.9 if ip_src 192.0.2.8 then drop
  repacket check -f rules.txt`,
	"verify": `  repacket verify if udp_src 53 then ip_dscp ef
  repacket verify -f rules.txt`,
	"compile": `  repacket compile if udp_dest 443 then udp_dest 8080
  repacket compile --emit c if tcp_syn on then tcp_mss atmost 1360
  repacket compile --emit object --hook tc -o rule.o if all then ip_dscp 0`,
	"fields": `  repacket fields
  repacket fields tcp
  repacket fields ip_dscp`,
	"doctor": `  repacket doctor
  repacket doctor -i eth1`,
	"version": `  repacket version
  repacket version --json`,
	"demo": `  repacket demo`,
}
