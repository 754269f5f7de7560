    0: r2 = *(u32 *)(r1 +0)                        ; packet
    1: r3 = *(u32 *)(r1 +4)
    2: r0 = r2                                     ; ethernet type
    3: r0 += 54
    4: if r0 > r3 goto 94
    5: r0 = *(u16 *)(r2 +12)
    6: if w0 != 0x8 goto 94
    7: r0 = *(u8 *)(r2 +23)                        ; protocol, fragment
    8: if w0 != 0x6 goto 141
    9: r0 = *(u16 *)(r2 +20)
   10: if w0 & 0xff1f goto 141
   11: r0 = *(u8 *)(r2 +14)                        ; options
   12: if w0 != 0x45 goto 116
   13: r4 = r2
   14: r5 = *(u16 *)(r2 +16)                       ; total length
   15: r5 = be16 r5
   16: w5 += -1
   17: if w5 < 0x27 goto 141                       ; tcp header

; if tcp_syn on tcp_ack off ip_src 10.0.0.0/8 then ip_dscp af31 ip_ecn 0 tcp_window 0
   18: r0 = *(u8 *)(r4 +47)                        ; if tcp_syn on tcp_ack off
   19: w0 &= 18
   20: if w0 != 0x2 goto 56
   21: r0 = *(u8 *)(r2 +26)                        ; if ip_src 10.0.0.0/8
   22: if w0 != 0xa goto 56
   23: r0 = 92159                                  ; ip_check follows
   24: r5 = *(u8 *)(r2 +15)
   25: r5 <<= 8
   26: r0 -= r5
   27: r5 = r0
   28: r5 >>= 16
   29: r0 &= 65535
   30: r0 += r5
   31: if w0 == 0xffff goto 38
   32: r5 = *(u16 *)(r2 +24)
   33: r5 -= r0
   34: r0 = r5
   35: r0 s>>= 63
   36: r0 += r5
   37: *(u16 *)(r2 +24) = r0
   38: r0 = 131070                                 ; tcp_check follows
   39: r5 = *(u16 *)(r4 +48)
   40: r0 -= r5
   41: r5 = r0
   42: r5 >>= 16
   43: r0 &= 65535
   44: r0 += r5
   45: if w0 == 0xffff goto 52
   46: r5 = *(u16 *)(r4 +50)
   47: r5 -= r0
   48: r0 = r5
   49: r0 s>>= 63
   50: r0 += r5
   51: *(u16 *)(r4 +50) = r0
   52: *(u8 *)(r2 +15) = 104                       ; ip_dscp af31 ip_ecn not-ect
   53: *(u16 *)(r4 +48) = 0                        ; tcp_window 0
   54: *(u32 *)(r10 -4) = 0                        ; count
   55: goto 77

; if not tcp or ip_ttl 1,5-9 then ip_ttl 64
   56: r0 = *(u8 *)(r2 +22)                        ; if ip_ttl 1,5-9
   57: if w0 > 0x9 goto 61
   58: if w0 >= 0x5 goto 62
   59: if w0 != 0x1 goto 92
   60: goto 62
   61: goto 92
   62: if w0 == 0x40 goto 76                       ; if ip_ttl 64
   63: r0 = -r0                                    ; ip_check follows
   64: r0 += 65599
   65: r5 = r0
   66: r5 >>= 16
   67: r0 &= 65535
   68: r0 += r5
   69: r5 = *(u16 *)(r2 +24)
   70: r5 -= r0
   71: r0 = r5
   72: r0 s>>= 63
   73: r0 += r5
   74: *(u16 *)(r2 +24) = r0
   75: *(u8 *)(r2 +22) = 64                        ; ip_ttl 64
   76: *(u32 *)(r10 -4) = 1                        ; count

   77: r2 = *(u32 *)(r1 +0)                        ; count
   78: r6 = *(u32 *)(r1 +4)
   79: r6 -= r2
   80: r1 = repacket_counts ll
   82: r2 = r10
   83: r2 += -4
   84: call bpf_map_lookup_elem
   85: if r0 == 0x0 goto 92
   86: r1 = *(u64 *)(r0 +0)
   87: r1 += 1
   88: *(u64 *)(r0 +0) = r1
   89: r1 = *(u64 *)(r0 +8)
   90: r1 += r6
   91: *(u64 *)(r0 +8) = r1
   92: w0 = 2                                      ; pass
   93: exit
   94: r0 = r2                                     ; ethernet type
   95: r0 += 14
   96: if r0 > r3 goto 92
   97: r0 = *(u16 *)(r2 +12)
   98: if w0 == 0x8 goto 134
   99: if w0 == 0x81 goto 101                      ; vlan tag
  100: if w0 != 0xa888 goto 92
  101: r0 = r2
  102: r0 += 18
  103: if r0 > r3 goto 92
  104: r2 += 4
  105: r0 = *(u16 *)(r2 +12)                       ; ethernet type
  106: if w0 == 0x8 goto 134
  107: if w0 == 0x81 goto 109                      ; vlan tag
  108: if w0 != 0xa888 goto 92
  109: r0 = r2
  110: r0 += 18
  111: if r0 > r3 goto 92
  112: r2 += 4
  113: r0 = *(u16 *)(r2 +12)                       ; ethernet type
  114: if w0 == 0x8 goto 134
  115: goto 92
  116: r5 = r0                                     ; options
  117: r5 &= 240
  118: if r5 != 0x40 goto 141
  119: r0 &= 15
  120: if r0 < 0x5 goto 141
  121: r0 <<= 2
  122: r5 = *(u16 *)(r2 +16)                       ; total length
  123: r5 = be16 r5
  124: w5 += -1
  125: if w5 < w0 goto 141
  126: r0 += -20
  127: w5 -= w0
  128: r4 = r2
  129: r4 += r0
  130: r0 = r4
  131: r0 += 54
  132: if r0 > r3 goto 141
  133: goto 17
  134: r0 = r2                                     ; ip header
  135: r0 += 54
  136: if r0 > r3 goto 138
  137: goto 7
  138: r0 = r2
  139: r0 += 34
  140: if r0 > r3 goto 92

; if not tcp or ip_ttl 1,5-9 then ip_ttl 64
  141: r0 = *(u8 *)(r2 +22)                        ; if ip_ttl 64
  142: if w0 == 0x40 goto 156
  143: r0 = -r0                                    ; ip_check follows
  144: r0 += 65599
  145: r5 = r0
  146: r5 >>= 16
  147: r0 &= 65535
  148: r0 += r5
  149: r5 = *(u16 *)(r2 +24)
  150: r5 -= r0
  151: r0 = r5
  152: r0 s>>= 63
  153: r0 += r5
  154: *(u16 *)(r2 +24) = r0
  155: *(u8 *)(r2 +22) = 64                        ; ip_ttl 64
  156: *(u32 *)(r10 -4) = 1                        ; count
  157: goto 77
