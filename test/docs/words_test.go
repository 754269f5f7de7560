package docs

import (
	"os"
	"regexp"
	"strings"
	"testing"
)

// private are words that only this project used, and the standard term for each.
var private = []struct{ word, standard string }{
	{`cuts? up|cutting up`, "segmented, segmentation offload (GSO)"},
	{`made later|yet to be made`, "offloaded checksum (CHECKSUM_PARTIAL)"},
	{`(beside|besides) (the )?packets?`, "offloaded VLAN tag (skb->vlan_tci)"},
	{`left alone|lea(ve|ves|ving) \w+ alone`, "skipped"},
	{`follows to its end`, "exceeds the verifier's complexity limit"},
	{`tells? whether`, "reports whether"},
	{`what cannot be\b`, "impossible rules are rejected"},
	{`made packets|packets (that are |are )?made`, "synthetic packets"},
	{`(taken|takes?|taking) (it |them |rules )?off\b|puts? (it |them |rules )?on\b`, "attach, detach"},
	{`prov(e|es|ed|ing) before attaching|the proof\b`, "self-test"},
}

// TestVocabulary: the prose of the pages uses the terms of the field. What they show
// of the command is what it says, which other tests hold.
func TestVocabulary(t *testing.T) {
	for _, page := range pages(t) {
		content, err := os.ReadFile(page)
		if err != nil {
			t.Fatal(err)
		}
		for _, found := range privateWords(fenced.ReplaceAllString(string(content), "")) {
			t.Errorf("%s: %s", page, found)
		}
	}
}

// TestPrivateWords: a word is found across the end of a line, and in any case.
func TestPrivateWords(t *testing.T) {
	if found := privateWords("A checksum that is Made\nlater, and more."); len(found) != 1 {
		t.Errorf("found %q", found)
	}
}

// fenced is what stands between fences.
var fenced = regexp.MustCompile("(?s)```.*?```")

// privateWords returns what a text says in private words, and how to say it.
func privateWords(text string) (found []string) {
	text = strings.Join(strings.Fields(text), " ")
	for _, p := range private {
		for _, m := range regexp.MustCompile(`(?i)\b(`+p.word+`)`).FindAllString(text, -1) {
			found = append(found, m+" (say: "+p.standard+")")
		}
	}
	return found
}
