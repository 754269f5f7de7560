package plan

import (
	"repacket/internal/field"
	"repacket/internal/rule"
)

// Left are the steps and the parts that planning rules left, with tables or
// without. Where they were over both are a little below 0 at most.
func Left(p *rule.Program, withTables bool) (steps, parts int, err error) {
	b := newBuilder(p, field.Ethernet, effortFor(p))
	if withTables {
		if b.tables.items, err = b.items(); err != nil {
			return 0, 0, err
		}
	}
	b.build()
	return b.effort.steps, b.effort.parts, b.effort.err
}
