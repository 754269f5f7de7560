package reference_test

import (
	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"repacket/internal/reference"
)

// butActed compares results without the rule, whose place they have too, and without how many
// rules came before it.
var butActed cmp.Option = cmpopts.IgnoreFields(reference.Result{}, "Acted", "Passed")
