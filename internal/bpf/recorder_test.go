package bpf_test

import (
	"reflect"
	"testing"

	"github.com/cilium/ebpf/asm"

	"repacket/internal/bpf"
	"repacket/internal/field"
	"repacket/internal/plan"
)

// TestRecordsNothingUnasked: a program that records nothing has no instruction for it; one that
// does is the same but for the calls of two functions, and calls nothing else per rule.
func TestRecordsNothingUnasked(t *testing.T) {
	for _, test := range proved {
		for _, hook := range []bpf.Hook{bpf.XDP, bpf.TC} {
			p := plan.Build(checked(t, test.text), field.Ethernet)
			compile := func(r *bpf.Recording) asm.Instructions {
				ins, err := bpf.Compile(p, bpf.Options{Hook: hook, Record: r})
				if err != nil {
					t.Fatalf("%s: %v", test.text, err)
				}
				return ins
			}
			without := compile(nil)
			for _, i := range without {
				if call := asm.BuiltinFunc(i.Constant); i.IsBuiltinCall() && (call == asm.FnRingbufReserve || call == asm.FnRingbufSubmit || call == asm.FnRingbufDiscard || call == asm.FnKtimeGetNs) {
					t.Errorf("%s: %v in a program that records nothing", test.text, i)
				}
				if i.IsFunctionCall() {
					t.Errorf("%s: a function is called in a program that records nothing", test.text)
				}
			}
			if again := compile(nil); !reflect.DeepEqual(without, again) {
				t.Errorf("%s: compiled again it is another program", test.text)
			}
			calls := map[string]int{}
			for _, i := range compile(&bpf.Recording{}) {
				if i.IsFunctionCall() {
					calls[i.Reference()]++
				}
			}
			if calls["record_begin"] != calls["record_end"] {
				t.Errorf("%s: records are begun in %d places and ended in %d", test.text, calls["record_begin"], calls["record_end"])
			}
		}
	}
}
