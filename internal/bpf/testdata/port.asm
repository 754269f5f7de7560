    0: r2 = *(u32 *)(r1 +0)                        ; packet
    1: r3 = *(u32 *)(r1 +4)
    2: r0 = r2                                     ; ethernet type
    3: r0 += 42
    4: if r0 > r3 goto 46
    5: r0 = *(u16 *)(r2 +12)
    6: if w0 != 0x8 goto 46
    7: r0 = *(u8 *)(r2 +23)                        ; protocol, fragment
    8: if w0 != 0x11 goto 44
    9: r0 = *(u16 *)(r2 +20)
   10: if w0 & 0xff1f goto 44
   11: r0 = *(u8 *)(r2 +14)                        ; options
   12: if w0 != 0x45 goto 71
   13: r4 = r2
   14: r5 = *(u16 *)(r2 +16)                       ; total length
   15: r5 = be16 r5
   16: w5 += -1
   17: if w5 < 0x1b goto 44                        ; udp header

; if udp_dest 443 then udp_dest 8080
   18: r0 = *(u16 *)(r4 +36)                       ; if udp_dest 443
   19: if w0 != 0xbb01 goto 44
   20: r0 = *(u16 *)(r4 +40)                       ; udp_check follows
   21: if r0 == 0x0 goto 27
   22: r0 += 10978
   23: r5 = r0
   24: r5 >>= 16
   25: r0 += r5
   26: *(u16 *)(r4 +40) = r0
   27: *(u16 *)(r4 +36) = 36895                    ; udp_dest 8080
   28: *(u32 *)(r10 -4) = 0                        ; count

   29: r2 = *(u32 *)(r1 +0)                        ; count
   30: r6 = *(u32 *)(r1 +4)
   31: r6 -= r2
   32: r1 = repacket_counts ll
   34: r2 = r10
   35: r2 += -4
   36: call bpf_map_lookup_elem
   37: if r0 == 0x0 goto 44
   38: r1 = *(u64 *)(r0 +0)
   39: r1 += 1
   40: *(u64 *)(r0 +0) = r1
   41: r1 = *(u64 *)(r0 +8)
   42: r1 += r6
   43: *(u64 *)(r0 +8) = r1
   44: w0 = 2                                      ; pass
   45: exit
   46: r0 = r2                                     ; ethernet type
   47: r0 += 14
   48: if r0 > r3 goto 44
   49: r0 = *(u16 *)(r2 +12)
   50: if w0 == 0x8 goto 89
   51: if w0 == 0xdd86 goto 97
   52: if w0 == 0x81 goto 54                       ; vlan tag
   53: if w0 != 0xa888 goto 44
   54: r0 = r2
   55: r0 += 18
   56: if r0 > r3 goto 44
   57: r2 += 4
   58: r0 = *(u16 *)(r2 +12)                       ; ethernet type
   59: if w0 == 0x8 goto 89
   60: if w0 == 0xdd86 goto 97
   61: if w0 == 0x81 goto 63                       ; vlan tag
   62: if w0 != 0xa888 goto 44
   63: r0 = r2
   64: r0 += 18
   65: if r0 > r3 goto 44
   66: r2 += 4
   67: r0 = *(u16 *)(r2 +12)                       ; ethernet type
   68: if w0 == 0x8 goto 89
   69: if w0 == 0xdd86 goto 97
   70: goto 44
   71: r5 = r0                                     ; options
   72: r5 &= 240
   73: if r5 != 0x40 goto 44
   74: r0 &= 15
   75: if r0 < 0x5 goto 44
   76: r0 <<= 2
   77: r5 = *(u16 *)(r2 +16)                       ; total length
   78: r5 = be16 r5
   79: w5 += -1
   80: if w5 < w0 goto 44
   81: r0 += -20
   82: w5 -= w0
   83: r4 = r2
   84: r4 += r0
   85: r0 = r4
   86: r0 += 42
   87: if r0 > r3 goto 44
   88: goto 17
   89: r0 = r2                                     ; ip header
   90: r0 += 42
   91: if r0 > r3 goto 93
   92: goto 7
   93: r0 = r2
   94: r0 += 34
   95: if r0 > r3 goto 44
   96: goto 44
   97: r0 = r2                                     ; ip6 header
   98: r0 += 54
   99: if r0 > r3 goto 44
  100: r0 = *(u8 *)(r2 +14)                        ; ip6 version
  101: r0 &= 240
  102: if r0 != 0x60 goto 44
  103: r4 = r2                                     ; payload length
  104: r4 += 20
  105: r5 = *(u16 *)(r2 +18)
  106: r5 = be16 r5
  107: w5 += -1                                    ; next header
  108: r0 = *(u8 *)(r2 +20)
  109: if r0 == 0x11 goto 115
  110: if r0 == 0x0 goto 120
  111: if r0 == 0x2b goto 120
  112: if r0 == 0x2c goto 120
  113: if r0 == 0x3c goto 120
  114: goto 44
  115: r0 = r4                                     ; udp header
  116: r0 += 42
  117: if r0 > r3 goto 44
  118: if w5 < 0x7 goto 44
  119: goto 18
  120: r5 = *(u32 *)(r1 +0)                        ; ip6 header
  121: r2 -= r5
  122: r2 &= 12
  123: r2 += r5
  124: r0 = r2
  125: r0 += 54
  126: if r0 > r3 goto 44
  127: r4 = r2
  128: r4 += 20
  129: r0 = *(u8 *)(r2 +20)
  130: r5 = *(u16 *)(r2 +18)                       ; payload length
  131: r5 = be16 r5
  132: if r5 != 0x0 goto 135
  133: r5 = r3
  134: r5 -= r2
  135: *(u64 *)(r10 -8) = r5
  136: r5 = *(u8 *)(r2 +20)                        ; extension header
  137: *(u64 *)(r10 -56) = 0
  138: r0 = *(u64 *)(r10 -56)
  139: if r0 >= 0x8 goto 44
  140: r0 += 1
  141: *(u64 *)(r10 -56) = r0
  142: r0 = r4
  143: r0 += 42
  144: if r0 > r3 goto 44
  145: r5 ^= 44
  146: r5 += -1
  147: r5 >>= 63
  148: r0 = *(u16 *)(r4 +36)
  149: r0 *= r5
  150: if w0 & 0xf8ff goto 44
  151: r5 ^= 1
  152: r0 = *(u8 *)(r4 +35)
  153: r0 *= r5
  154: r0 += 1
  155: r0 <<= 3
  156: r0 &= 4088
  157: r5 = *(u8 *)(r4 +34)
  158: r4 += r0
  159: r0 = r5
  160: r0 >>= 6
  161: if r0 != 0x0 goto 167
  162: r0 = 0xefffe7ffffffffff ll
  164: r0 >>= r5
  165: if r0 & 0x1 goto 167
  166: goto 138
  167: *(u64 *)(r10 -16) = r5                      ; next header
  168: r0 = r4
  169: r0 -= r2
  170: r0 &= 32767
  171: r4 = r2
  172: r4 += r0
  173: r5 = *(u64 *)(r10 -8)
  174: r5 -= r0
  175: r5 += 20
  176: if r5 s< 0x1 goto 44
  177: r5 += -1
  178: r0 = *(u64 *)(r10 -16)
  179: if r0 == 0x11 goto 181
  180: goto 44
  181: r0 = r4                                     ; udp header
  182: r0 += 42
  183: if r0 > r3 goto 44
  184: if w5 < 0x7 goto 44
  185: goto 18
