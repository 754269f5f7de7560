    0: r2 = *(u32 *)(r1 +0)                        ; packet
    1: r3 = *(u32 *)(r1 +4)
    2: r0 = r2                                     ; ethernet type
    3: r0 += 42
    4: if r0 > r3 goto 45
    5: r0 = *(u16 *)(r2 +12)
    6: if w0 != 0x8 goto 65
    7: r0 = *(u8 *)(r2 +14)                        ; options
    8: if w0 != 0x45 goto 47
    9: r4 = r2
   10: r5 = *(u16 *)(r2 +16)                       ; total length
   11: r5 = be16 r5
   12: w5 += -1
   13: r0 = *(u32 *)(r2 +20)                       ; fragment, protocol
   14: w0 &= -16711905
   15: if w0 != 0x11000000 goto 45
   16: if w5 < 0x1b goto 45                        ; udp header

; if udp_dest 443 then udp_dest 8080
   17: r0 = *(u16 *)(r4 +36)                       ; if udp_dest 443
   18: if w0 != 0xbb01 goto 45
   19: r0 = *(u16 *)(r4 +40)                       ; udp_check follows
   20: if r0 == 0x0 goto 26
   21: r0 += 10978
   22: r5 = r0
   23: r5 >>= 16
   24: r0 += r5
   25: *(u16 *)(r4 +40) = r0
   26: *(u16 *)(r4 +36) = 36895                    ; udp_dest 8080
   27: *(u32 *)(r10 -8) = 0                        ; count

   28: r0 = *(u32 *)(r1 +4)                        ; count
   29: r2 = *(u32 *)(r1 +0)
   30: r0 -= r2
   31: *(u64 *)(r10 -16) = r0
   32: r2 = r10
   33: r2 += -8
   34: r1 = repacket_counts ll
   36: call bpf_map_lookup_elem
   37: if r0 == 0x0 goto 45
   38: r1 = *(u64 *)(r0 +0)
   39: r1 += 1
   40: *(u64 *)(r0 +0) = r1
   41: r1 = *(u64 *)(r0 +8)
   42: r2 = *(u64 *)(r10 -16)
   43: r1 += r2
   44: *(u64 *)(r0 +8) = r1
   45: w0 = 2                                      ; pass
   46: exit
   47: r5 = r0                                     ; options
   48: r5 &= 240
   49: if r5 != 0x40 goto 45
   50: r0 &= 15
   51: if r0 < 0x5 goto 45
   52: r0 <<= 2
   53: r5 = *(u16 *)(r2 +16)                       ; total length
   54: r5 = be16 r5
   55: w5 += -1
   56: if w5 < w0 goto 45
   57: r0 += -20
   58: w5 -= w0
   59: r4 = r2
   60: r4 += r0
   61: r0 = r4
   62: r0 += 42
   63: if r0 > r3 goto 45
   64: goto 13
   65: if w0 == 0x81 goto 67                       ; vlan tag
   66: if w0 != 0xa888 goto 45
   67: r2 += 4
   68: r0 = r2
   69: r0 += 42
   70: if r0 > r3 goto 45
   71: r0 = *(u16 *)(r2 +12)
   72: if w0 == 0x8 goto 7
   73: if w0 == 0x81 goto 75
   74: if w0 != 0xa888 goto 45
   75: r2 += 4
   76: r0 = r2
   77: r0 += 42
   78: if r0 > r3 goto 45
   79: r0 = *(u16 *)(r2 +12)
   80: if w0 == 0x8 goto 7
   81: goto 45
