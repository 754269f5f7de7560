    0: r2 = *(u32 *)(r1 +0)                        ; packet
    1: r3 = *(u32 *)(r1 +4)
    2: r0 = r2                                     ; ethernet type
    3: r0 += 34
    4: if r0 > r3 goto 112
    5: r0 = *(u16 *)(r2 +12)
    6: if w0 != 0x8 goto 129
    7: r0 = *(u8 *)(r2 +23)                        ; protocol, fragment
    8: if w0 != 0x6 goto 81
    9: r0 = *(u16 *)(r2 +20)
   10: if w0 & 0xff1f goto 81
   11: r0 = *(u8 *)(r2 +14)                        ; options
   12: if w0 != 0x45 goto 114
   13: r4 = r2
   14: r5 = *(u16 *)(r2 +16)                       ; total length
   15: r5 = be16 r5
   16: w5 += -1
   17: r0 = r4                                     ; tcp header
   18: r0 += 54
   19: if r0 > r3 goto 81
   20: if w5 < 0x27 goto 81

; if tcp_syn on tcp_ack off ip_src 10.0.0.0/8 then ip_dscp af31 ip_ecn 0 tcp_window 0
   21: r0 = *(u8 *)(r4 +47)                        ; if tcp_syn on tcp_ack off
   22: w0 &= 18
   23: if w0 != 0x2 goto 59
   24: r0 = *(u8 *)(r2 +26)                        ; if ip_src 10.0.0.0/8
   25: if w0 != 0xa goto 59
   26: r0 = 92159                                  ; ip_check follows
   27: r5 = *(u8 *)(r2 +15)
   28: r5 <<= 8
   29: r0 -= r5
   30: r5 = r0
   31: r5 >>= 16
   32: r0 &= 65535
   33: r0 += r5
   34: if w0 == 0xffff goto 41
   35: r5 = *(u16 *)(r2 +24)
   36: r5 -= r0
   37: r0 = r5
   38: r0 s>>= 63
   39: r0 += r5
   40: *(u16 *)(r2 +24) = r0
   41: r0 = 131070                                 ; tcp_check follows
   42: r5 = *(u16 *)(r4 +48)
   43: r0 -= r5
   44: r5 = r0
   45: r5 >>= 16
   46: r0 &= 65535
   47: r0 += r5
   48: if w0 == 0xffff goto 55
   49: r5 = *(u16 *)(r4 +50)
   50: r5 -= r0
   51: r0 = r5
   52: r0 s>>= 63
   53: r0 += r5
   54: *(u16 *)(r4 +50) = r0
   55: *(u8 *)(r2 +15) = 104                       ; ip_dscp af31 ip_ecn not-ect
   56: *(u16 *)(r4 +48) = 0                        ; tcp_window 0
   57: *(u32 *)(r10 -8) = 0                        ; count
   58: goto 97

; if not tcp or ip_ttl 1,5-9 then ip_ttl 64
   59: r0 = *(u8 *)(r2 +22)                        ; if ip_ttl 1,5-9
   60: if w0 > 0x9 goto 64
   61: if w0 >= 0x5 goto 65
   62: if w0 != 0x1 goto 112
   63: goto 65
   64: goto 112
   65: if w0 == 0x40 goto 79                       ; if ip_ttl 64
   66: r0 = -r0                                    ; ip_check follows
   67: r0 += 65599
   68: r5 = r0
   69: r5 >>= 16
   70: r0 &= 65535
   71: r0 += r5
   72: r5 = *(u16 *)(r2 +24)
   73: r5 -= r0
   74: r0 = r5
   75: r0 s>>= 63
   76: r0 += r5
   77: *(u16 *)(r2 +24) = r0
   78: *(u8 *)(r2 +22) = 64                        ; ip_ttl 64
   79: *(u32 *)(r10 -8) = 1                        ; count
   80: goto 97
   81: r0 = *(u8 *)(r2 +22)                        ; if ip_ttl 64
   82: if w0 == 0x40 goto 96
   83: r0 = -r0                                    ; ip_check follows
   84: r0 += 65599
   85: r5 = r0
   86: r5 >>= 16
   87: r0 &= 65535
   88: r0 += r5
   89: r5 = *(u16 *)(r2 +24)
   90: r5 -= r0
   91: r0 = r5
   92: r0 s>>= 63
   93: r0 += r5
   94: *(u16 *)(r2 +24) = r0
   95: *(u8 *)(r2 +22) = 64                        ; ip_ttl 64
   96: *(u32 *)(r10 -8) = 1                        ; count

   97: r2 = *(u32 *)(r1 +0)                        ; count
   98: r6 = *(u32 *)(r1 +4)
   99: r6 -= r2
  100: r2 = r10
  101: r2 += -8
  102: r1 = repacket_counts ll
  104: call bpf_map_lookup_elem
  105: if r0 == 0x0 goto 112
  106: r1 = *(u64 *)(r0 +0)
  107: r1 += 1
  108: *(u64 *)(r0 +0) = r1
  109: r1 = *(u64 *)(r0 +8)
  110: r1 += r6
  111: *(u64 *)(r0 +8) = r1
  112: w0 = 2                                      ; pass
  113: exit
  114: r5 = r0                                     ; options
  115: r5 &= 240
  116: if r5 != 0x40 goto 81
  117: r0 &= 15
  118: if r0 < 0x5 goto 81
  119: r0 <<= 2
  120: r5 = *(u16 *)(r2 +16)                       ; total length
  121: r5 = be16 r5
  122: w5 += -1
  123: if w5 < w0 goto 81
  124: r0 += -20
  125: w5 -= w0
  126: r4 = r2
  127: r4 += r0
  128: goto 17
  129: if w0 == 0x81 goto 131                      ; vlan tag
  130: if w0 != 0xa888 goto 112
  131: r2 += 4
  132: r0 = r2
  133: r0 += 34
  134: if r0 > r3 goto 112
  135: r0 = *(u16 *)(r2 +12)
  136: if w0 == 0x8 goto 7
  137: if w0 == 0x81 goto 139
  138: if w0 != 0xa888 goto 112
  139: r2 += 4
  140: r0 = r2
  141: r0 += 34
  142: if r0 > r3 goto 112
  143: r0 = *(u16 *)(r2 +12)
  144: if w0 == 0x8 goto 7
  145: goto 112
