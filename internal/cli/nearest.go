package cli

import "repacket/internal/spelling"

// nearest is the candidate that word was most likely meant to be, or "" when
// none is close.
func nearest(word string, candidates []string) string {
	best, limit := "", min(4, len(word)-1)
	for _, c := range candidates {
		if d := spelling.Distance(word, c); d <= limit && c != word {
			best, limit = c, d-1
		}
	}
	return best
}

// otherNames are what other tools call our commands.
var otherNames = map[string]string{
	"stop": "detach", "off": "detach", "remove": "detach", "rm": "detach", "delete": "detach", "del": "detach", "flush": "detach", "unload": "detach",
	"status": "list", "show": "list", "ls": "list",
	"start": "attach", "add": "attach", "load": "attach",
	"test": "check", "validate": "check", "lint": "check",
	"rules": "help rules", "language": "help rules", "syntax": "help rules", "examples": "help rules",
	"packets": "help packets",
}
