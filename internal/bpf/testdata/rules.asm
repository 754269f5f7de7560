    0: r2 = *(u32 *)(r1 +0)                        ; packet
    1: r3 = *(u32 *)(r1 +4)
    2: r0 = r2                                     ; ethernet type
    3: r0 += 34
    4: if r0 > r3 goto 116
    5: r0 = *(u16 *)(r2 +12)
    6: if w0 != 0x8 goto 133
    7: r0 = *(u8 *)(r2 +14)                        ; options
    8: if w0 != 0x45 goto 118
    9: r4 = r2
   10: r5 = *(u16 *)(r2 +16)                       ; total length
   11: r5 = be16 r5
   12: w5 += -1
   13: r0 = *(u32 *)(r2 +20)                       ; fragment, protocol
   14: w0 &= -16711905
   15: if w0 != 0x6000000 goto 83
   16: r0 = r4                                     ; tcp header
   17: r0 += 54
   18: if r0 > r3 goto 83
   19: if w5 < 0x27 goto 83

; if tcp_syn on tcp_ack off ip_src 10.0.0.0/8 then ip_dscp af31 ip_ecn 0 tcp_window 0
   20: r0 = *(u8 *)(r4 +47)                        ; if tcp_syn on tcp_ack off
   21: w0 &= 18
   22: if w0 != 0x2 goto 60
   23: r0 = *(u32 *)(r2 +26)                       ; if ip_src 10.0.0.0/8
   24: r0 = be32 r0
   25: if w0 < 0xa000000 goto 60
   26: if w0 > 0xaffffff goto 60
   27: r0 = 92159                                  ; ip_check follows
   28: r5 = *(u8 *)(r2 +15)
   29: r5 <<= 8
   30: r0 -= r5
   31: r5 = r0
   32: r5 >>= 16
   33: r0 &= 65535
   34: r0 += r5
   35: if w0 == 0xffff goto 42
   36: r5 = *(u16 *)(r2 +24)
   37: r5 -= r0
   38: r0 = r5
   39: r0 s>>= 63
   40: r0 += r5
   41: *(u16 *)(r2 +24) = r0
   42: r0 = 131070                                 ; tcp_check follows
   43: r5 = *(u16 *)(r4 +48)
   44: r0 -= r5
   45: r5 = r0
   46: r5 >>= 16
   47: r0 &= 65535
   48: r0 += r5
   49: if w0 == 0xffff goto 56
   50: r5 = *(u16 *)(r4 +50)
   51: r5 -= r0
   52: r0 = r5
   53: r0 s>>= 63
   54: r0 += r5
   55: *(u16 *)(r4 +50) = r0
   56: *(u8 *)(r2 +15) = 104                       ; ip_dscp af31 ip_ecn not-ect
   57: *(u16 *)(r4 +48) = 0                        ; tcp_window 0
   58: *(u32 *)(r10 -8) = 0                        ; count
   59: goto 99

; if not tcp or ip_ttl 1,5-9 then ip_ttl 64
   60: r0 = *(u8 *)(r2 +22)                        ; if ip_ttl 1,5-9
   61: if w0 > 0x9 goto 65
   62: if w0 >= 0x5 goto 66
   63: if w0 != 0x1 goto 116
   64: goto 66
   65: goto 116
   66: r0 = 65599                                  ; ip_check follows
   67: r5 = *(u8 *)(r2 +22)
   68: r0 -= r5
   69: r5 = r0
   70: r5 >>= 16
   71: r0 &= 65535
   72: r0 += r5
   73: if w0 == 0xffff goto 80
   74: r5 = *(u16 *)(r2 +24)
   75: r5 -= r0
   76: r0 = r5
   77: r0 s>>= 63
   78: r0 += r5
   79: *(u16 *)(r2 +24) = r0
   80: *(u8 *)(r2 +22) = 64                        ; ip_ttl 64
   81: *(u32 *)(r10 -8) = 1                        ; count
   82: goto 99
   83: r0 = 65599                                  ; ip_check follows
   84: r5 = *(u8 *)(r2 +22)
   85: r0 -= r5
   86: r5 = r0
   87: r5 >>= 16
   88: r0 &= 65535
   89: r0 += r5
   90: if w0 == 0xffff goto 97
   91: r5 = *(u16 *)(r2 +24)
   92: r5 -= r0
   93: r0 = r5
   94: r0 s>>= 63
   95: r0 += r5
   96: *(u16 *)(r2 +24) = r0
   97: *(u8 *)(r2 +22) = 64                        ; ip_ttl 64
   98: *(u32 *)(r10 -8) = 1                        ; count

   99: r0 = *(u32 *)(r1 +4)                        ; count
  100: r2 = *(u32 *)(r1 +0)
  101: r0 -= r2
  102: *(u64 *)(r10 -16) = r0
  103: r2 = r10
  104: r2 += -8
  105: r1 = repacket_counts ll
  107: call bpf_map_lookup_elem
  108: if r0 == 0x0 goto 116
  109: r1 = *(u64 *)(r0 +0)
  110: r1 += 1
  111: *(u64 *)(r0 +0) = r1
  112: r1 = *(u64 *)(r0 +8)
  113: r2 = *(u64 *)(r10 -16)
  114: r1 += r2
  115: *(u64 *)(r0 +8) = r1
  116: w0 = 2                                      ; pass
  117: exit
  118: r5 = r0                                     ; options
  119: r5 &= 240
  120: if r5 != 0x40 goto 83
  121: r0 &= 15
  122: if r0 < 0x5 goto 83
  123: r0 <<= 2
  124: r5 = *(u16 *)(r2 +16)                       ; total length
  125: r5 = be16 r5
  126: w5 += -1
  127: if w5 < w0 goto 83
  128: r0 += -20
  129: w5 -= w0
  130: r4 = r2
  131: r4 += r0
  132: goto 13
  133: if w0 == 0x81 goto 135                      ; vlan tag
  134: if w0 != 0xa888 goto 116
  135: r2 += 4
  136: r0 = r2
  137: r0 += 34
  138: if r0 > r3 goto 116
  139: r0 = *(u16 *)(r2 +12)
  140: if w0 == 0x8 goto 7
  141: if w0 == 0x81 goto 143
  142: if w0 != 0xa888 goto 116
  143: r2 += 4
  144: r0 = r2
  145: r0 += 34
  146: if r0 > r3 goto 116
  147: r0 = *(u16 *)(r2 +12)
  148: if w0 == 0x8 goto 7
  149: goto 116
