package cli

// What repacket(8) says beside what comes from tables.

const commandDescription = `
.Sh DESCRIPTION
.Nm
rewrites fields of packet headers (Ethernet, VLAN, ARP, IPv4, IPv6, ICMP, TCP,
UDP) on a network
interface, in the kernel, by rules such as
.Pp
.Dl if udp_dest 443 then udp_dest 8080
.Pp
.Xr repacket-rules 5
says how they are written.
The rules become a program of the kernel's (XDP or tc).
Before it is attached, it runs on synthetic packets and is compared with a
second implementation; if they
differ, nothing is attached.
Only the fields that a rule names change, and the checksums that cover them.
Packets that no rule matches pass untouched.
.Pp
The rules of a run end with its process, whatever ends it.
Those of
.Ic attach
stay until
.Ic detach ,
until the interface goes, or until the next boot.
An interface has one set of rules in each direction.
Programs of others are never replaced.
.Pp
Without
.Fl i
the interface is that of the default route.
Rules that would cut off the ssh session by which one came are refused.
`

const otherCommands = `
.It Ic completion
Print what
.Cm bash ,
.Cm fish ,
.Cm powershell
or
.Cm zsh
need to complete commands, flags, fields and values.
.It Ic help
Show the help of a command, or a page about a topic:
`

const commandEnvironment = `
.Sh SIGNALS
.Bl -tag -width SIGQUIT
.It Dv SIGINT , SIGTERM , SIGQUIT
End a run: it detaches its rules, shows its summary and exits with 0.
.It Dv SIGHUP
Has a run with
.Fl f
read its file again, and put the rules in the place of those before without a
gap; if they are
wrong, those before go on.
Other runs end.
.It Dv SIGUSR1
Has a run show its counts so far.
.El
.Sh ENVIRONMENT
.Bl -tag -width NOTIFY_SOCKET
.It Ev NO_COLOR
If it is set, nothing is shown in colour, unless
.Fl \-color Cm always
is given.
.It Ev TERM
If it is
.Cm dumb ,
nothing is shown in colour.
.It Ev SSH_CONNECTION
The session that rules may not cut off is looked for by it, beside the sockets
of the ancestors
of the process.
.It Ev NOTIFY_SOCKET
The socket of the service manager.
A run tells it when its rules are attached, when it reads them again, and when
it stops.
.El
.Sh FILES
.Bl -tag -width Ds
.It Pa /etc/repacket/IFACE.rules
The rules of
.Pa repacket@IFACE.service .
Its user has to be able to read them: mode 0644.
.It Pa /etc/repacket/IFACE.env
Flags for it, such as
.Ql OPTIONS=\-Q out .
.El
.Sh EXIT STATUS
.Bl -tag -width Ds -compact
.It 0
Done, also if a signal asked for the end.
.It 1
It failed while running.
.It 2
The command or a rule is wrong, or the rules would cut off the session, or what
.Fl \-protect
names.
.It 3
A privilege is missing.
.It 4
The kernel or the interface cannot do it.
.It 5
Another program, or other rules of
.Nm ,
are on the interface.
.El
`

const commandEnd = `
.Sh SEE ALSO
.Xr repacket-rules 5
.Sh SECURITY CONSIDERATIONS
.Ic check ,
.Ic compile ,
.Ic fields ,
.Ic doctor
and
.Ic version
need no privilege.
A run and
.Ic attach
need root, or
.Dv CAP_BPF ,
.Dv CAP_NET_ADMIN
and
.Dv CAP_PERFMON .
.Ic list ,
.Ic replace ,
.Ic confirm ,
.Ic detach ,
and a run on an interface with programs of others, need
.Dv CAP_SYS_ADMIN
as well.
.Pp
A process whose privileges are not its caller's own opens files with the
caller's rights, trusts
no environment and executes no program.
`
