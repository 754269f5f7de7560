    0: r2 = *(u32 *)(r1 +0)                        ; packet
    1: r3 = *(u32 *)(r1 +4)
    2: r0 = r2                                     ; ethernet type
    3: r0 += 42
    4: if r0 > r3 goto 44
    5: r0 = *(u16 *)(r2 +12)
    6: if w0 != 0x8 goto 64
    7: r0 = *(u8 *)(r2 +23)                        ; protocol, fragment
    8: if w0 != 0x11 goto 44
    9: r0 = *(u16 *)(r2 +20)
   10: if w0 & 0xff1f goto 44
   11: r0 = *(u8 *)(r2 +14)                        ; options
   12: if w0 != 0x45 goto 46
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
   28: *(u32 *)(r10 -8) = 0                        ; count

   29: r2 = *(u32 *)(r1 +0)                        ; count
   30: r6 = *(u32 *)(r1 +4)
   31: r6 -= r2
   32: r2 = r10
   33: r2 += -8
   34: r1 = repacket_counts ll
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
   46: r5 = r0                                     ; options
   47: r5 &= 240
   48: if r5 != 0x40 goto 44
   49: r0 &= 15
   50: if r0 < 0x5 goto 44
   51: r0 <<= 2
   52: r5 = *(u16 *)(r2 +16)                       ; total length
   53: r5 = be16 r5
   54: w5 += -1
   55: if w5 < w0 goto 44
   56: r0 += -20
   57: w5 -= w0
   58: r4 = r2
   59: r4 += r0
   60: r0 = r4
   61: r0 += 42
   62: if r0 > r3 goto 44
   63: goto 17
   64: if w0 == 0x81 goto 66                       ; vlan tag
   65: if w0 != 0xa888 goto 44
   66: r2 += 4
   67: r0 = r2
   68: r0 += 42
   69: if r0 > r3 goto 44
   70: r0 = *(u16 *)(r2 +12)
   71: if w0 == 0x8 goto 7
   72: if w0 == 0x81 goto 74
   73: if w0 != 0xa888 goto 44
   74: r2 += 4
   75: r0 = r2
   76: r0 += 42
   77: if r0 > r3 goto 44
   78: r0 = *(u16 *)(r2 +12)
   79: if w0 == 0x8 goto 7
   80: goto 44
