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

func (r *report) fail(at Span, hint, format string, args ...any) {
	if r.err == nil {
		r.err = r.diagnostic(syntax.Error, at, hint, format, args...)
	}
}

func (r *report) diagnostic(severity syntax.Severity, at Span, hint, format string, args ...any) *syntax.Diagnostic {
	return &syntax.Diagnostic{Severity: severity, Msg: fmt.Sprintf(format, args...), At: at, Hint: hint, Source: r.source}
}

// words is a piece of the source for a message.
func (r *report) words(at Span) string { return syntax.Excerpt(r.source, at) }
