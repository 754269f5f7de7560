// Promql parses the queries of a dashboard of Grafana by Prometheus's own parser. It is a module of its
// own, so that nothing of Prometheus's reaches the program.
package main

import (
	"encoding/json"
	"fmt"
	"os"
	"strings"

	"github.com/prometheus/prometheus/promql/parser"
)

// variables are what Grafana puts in their place where a query is parsed.
var variables = strings.NewReplacer("$__rate_interval", "5m", "$instance", ".+", "$interface", ".+")

func main() {
	n, err := parse(os.Args[1])
	if err == nil && n == 0 {
		err = fmt.Errorf("%s has no query", os.Args[1])
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	fmt.Printf("%s: %d queries parsed\n", os.Args[1], n)
}

// parse parses the queries of all panels, and returns how many there are.
func parse(path string) (n int, err error) {
	text, err := os.ReadFile(path)
	if err != nil {
		return 0, err
	}
	var dashboard struct {
		Panels []struct {
			Title   string
			Targets []struct{ Expr string }
		}
	}
	if err := json.Unmarshal(text, &dashboard); err != nil {
		return 0, fmt.Errorf("%s: %w", path, err)
	}
	p := parser.NewParser(parser.Options{})
	for _, panel := range dashboard.Panels {
		for _, t := range panel.Targets {
			n++
			if _, err := p.ParseExpr(variables.Replace(t.Expr)); err != nil {
				return n, fmt.Errorf("%s: %s: %s: %w", path, panel.Title, t.Expr, err)
			}
		}
	}
	return n, nil
}
