package main

import (
	"fmt"
	"strings"
)

// table is text in columns: those of words stand left, those of numbers right.
type table struct {
	rows  [][]string
	words int // so many columns of words come first
}

// add adds a row; floats get one decimal.
func (t *table) add(cells ...any) {
	var row []string
	for _, c := range cells {
		if f, ok := c.(float64); ok {
			row = append(row, fmt.Sprintf("%.1f", f))
			continue
		}
		row = append(row, fmt.Sprint(c))
	}
	t.rows = append(t.rows, row)
}

// hundredths gives the floats among cells two decimals.
func hundredths(cells []any) []any {
	out := make([]any, len(cells))
	for i, c := range cells {
		if f, ok := c.(float64); ok {
			c = fmt.Sprintf("%.2f", f)
		}
		out[i] = c
	}
	return out
}

// String is the table, two blanks between its columns.
func (t *table) String() string {
	var width []int
	for _, row := range t.rows {
		for i, cell := range row {
			if i == len(width) {
				width = append(width, 0)
			}
			width[i] = max(width[i], len([]rune(cell)))
		}
	}
	var out strings.Builder
	for _, row := range t.rows {
		var line strings.Builder
		for i, cell := range row {
			w := width[i]
			if i < t.words {
				w = -w
			}
			fmt.Fprintf(&line, "%*s  ", w, cell)
		}
		out.WriteString(strings.TrimRight(line.String(), " ") + "\n")
	}
	return out.String()
}
