package rulegen

import (
	"slices"
	"strings"
	"unicode"
)

// Shrink makes a failing case small: it takes words out of the program's text
// and bytes out of the frame, then makes what is left plainer, for as long as
// fails goes on holding. fails must hold for what is given; it is asked for
// many texts that are no valid program and should say no to them.
func Shrink(text string, frame []byte, fails func(text string, frame []byte) bool) (string, []byte) {
	words, frame := split(text), slices.Clone(frame)
	for {
		before := len(words) + len(frame) + weight(words) + ones(frame)
		words = shrinkWords(words, func(w []string) bool { return fails(join(w), frame) })
		frame = shrinkFrame(frame, func(b []byte) bool { return fails(join(words), b) })
		if len(words)+len(frame)+weight(words)+ones(frame) >= before {
			break
		}
	}
	if small := join(words); fails(small, frame) {
		return small, frame
	}
	return text, frame // blanks or comments mattered
}

// split cuts a text into words, with commas and brackets apart.
func split(text string) []string {
	var words []string
	for _, line := range strings.Split(text, "\n") {
		line, _, _ = strings.Cut(line, "#")
		for _, sign := range []string{",", "(", ")", ";"} {
			line = strings.ReplaceAll(line, sign, " "+sign+" ")
		}
		words = append(words, strings.Fields(line)...)
	}
	return words
}

func join(words []string) string {
	text := strings.Join(words, " ")
	return strings.ReplaceAll(text, " , ", ",")
}

// shrinkWords drops words and pairs of brackets, puts all in place of tests,
// then makes numbers plainer.
func shrinkWords(words []string, fails func([]string) bool) []string {
	words = drop(words, fails)
	words = unwrap(words, fails)
	words = widen(words, fails)
	for i := range words {
		for _, plain := range plainer(words[i]) {
			try := slices.Clone(words)
			try[i] = plain
			if fails(try) {
				words = try
				break
			}
		}
	}
	return words
}

// unwrap drops brackets by pairs.
func unwrap(words []string, fails func([]string) bool) []string {
	for i := 0; i < len(words); i++ {
		for j := i + 1; j < len(words) && words[i] == "("; j++ {
			if try := slices.Concat(words[:i], words[i+1:j], words[j+1:]); words[j] == ")" && fails(try) {
				words = try
			}
		}
	}
	return words
}

// widen puts all in place of runs of words, the longest first.
func widen(words []string, fails func([]string) bool) []string {
	for size := min(len(words), 16); size > 1; size-- {
		for i := 0; i+size <= len(words); i++ {
			if try := slices.Concat(words[:i], []string{"all"}, words[i+size:]); fails(try) {
				words = try
			}
		}
	}
	return words
}

// plainer lists words to try in place of one that stands for a value; each is
// lighter than the word itself.
func plainer(word string) []string {
	if sign := word[:1]; sign == "+" || sign == "-" {
		return slices.DeleteFunc([]string{sign + "0", sign + "1"}, func(t string) bool { return weigh(t) >= weigh(word) })
	}
	address6 := strings.Contains(word, ":") && !strings.HasSuffix(word, ":")
	if !unicode.IsDigit(rune(word[0])) && !address6 {
		return nil
	}
	tries := []string{"0", "1", "0.0.0.0", "0.0.0.1", "::", "::1", "00:00:00:00:00:00", "00:00:00:00:00:01"}
	if lo, hi, ok := strings.Cut(word, "-"); ok {
		tries = append(tries, lo, hi)
	}
	if addr, _, ok := strings.Cut(word, "/"); ok {
		tries = append(tries, addr)
	}
	return slices.DeleteFunc(tries, func(t string) bool { return weigh(t) >= weigh(word) })
}

// weigh is lower for plainer words: for shorter ones, and for lower digits.
func weigh(word string) int {
	n := 0
	for _, c := range word {
		n += 10 + int(c&15)
	}
	return n
}

func weight(words []string) int {
	n := 0
	for _, w := range words {
		n += weigh(w)
	}
	return n
}

// shrinkFrame drops bytes, but not so many that the kernel would not take the
// frame for a test run, of whatever link, then clears what is left, by runs of
// bytes and then by bits.
func shrinkFrame(frame []byte, fails func([]byte) bool) []byte {
	frame = drop(frame, func(b []byte) bool { return len(b) >= ethernetHeader && fails(b) })
	for size := len(frame); size > 0; size /= 2 {
		for start := 0; start < len(frame); start += size {
			try := slices.Clone(frame)
			clear(try[start:min(start+size, len(try))])
			if !slices.Equal(try, frame) && fails(try) {
				frame = try
			}
		}
	}
	for bit := range 8 * len(frame) {
		try := slices.Clone(frame)
		try[bit/8] &^= 0x80 >> (bit % 8)
		if try[bit/8] != frame[bit/8] && fails(try) {
			frame = try
		}
	}
	return frame
}

// ones counts the bits that are set.
func ones(b []byte) int {
	n := 0
	for _, x := range b {
		for ; x != 0; x &= x - 1 {
			n++
		}
	}
	return n
}

// drop takes runs of elements out of s, long ones first, from the end on.
func drop[E any](s []E, fails func([]E) bool) []E {
	for size := len(s); size > 0; size /= 2 {
		for end := len(s); end > 0; {
			start := max(0, end-size)
			try := slices.Concat(s[:start], s[end:])
			if fails(try) {
				s = try
			}
			end = start
		}
	}
	return s
}
