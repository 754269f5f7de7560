package rule

import (
	"fmt"

	"repacket/internal/syntax"
)

// report keeps the first error in a source.
type report struct {
	source string
	err    *syntax.Diagnostic
}

// fail keeps the first error. The hint is prose: what could be typed back is proposed
// to the diagnostic, which is nil behind the first error.
func (r *report) fail(at Span, hint, format string, args ...any) *syntax.Diagnostic {
	if r.err != nil {
		return nil
	}
	r.err = r.diagnostic(syntax.Error, at, hint, format, args...)
	return r.err
}

func (r *report) diagnostic(severity syntax.Severity, at Span, hint, format string, args ...any) *syntax.Diagnostic {
	return &syntax.Diagnostic{Severity: severity, Msg: fmt.Sprintf(format, args...), At: at, Hint: hint, Source: r.source}
}

// words is a piece of the source for a message.
func (r *report) words(at Span) string { return syntax.Excerpt(r.source, at) }
