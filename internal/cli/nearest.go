package cli

// nearest is the candidate that word was most likely meant to be, or "" when
// none is close.
func nearest(word string, candidates []string) string {
	best, limit := "", min(2, (len(word)-1)/2)
	for _, c := range candidates {
		if d := distance(word, c); d <= limit && c != word {
			best, limit = c, d-1
		}
	}
	return best
}

// distance is the number of letters to insert, delete or change to get from a to b.
func distance(a, b string) int {
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := range len(a) {
		diagonal := row[0]
		row[0] = i + 1
		for j := range len(b) {
			change := diagonal
			if a[i] != b[j] {
				change++
			}
			diagonal = row[j+1]
			row[j+1] = min(change, row[j]+1, diagonal+1)
		}
	}
	return row[len(b)]
}
