package metrics_test

import (
	"bytes"
	"encoding/json"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// dashboard is the part of Grafana's schema for dashboards, version 39, that ours uses. Whatever it has
// beside this is refused.
type dashboard struct {
	UID           string   `json:"uid"`
	Title         string   `json:"title"`
	Description   string   `json:"description"`
	Tags          []string `json:"tags"`
	SchemaVersion int      `json:"schemaVersion"`
	Version       int      `json:"version"`
	Editable      bool     `json:"editable"`
	Time          struct {
		From string `json:"from"`
		To   string `json:"to"`
	} `json:"time"`
	Refresh    string `json:"refresh"`
	Timezone   string `json:"timezone"`
	Templating struct {
		List []variable `json:"list"`
	} `json:"templating"`
	Annotations struct {
		List []struct{} `json:"list"`
	} `json:"annotations"`
	Panels []panel `json:"panels"`
}

type variable struct {
	Name       string      `json:"name"`
	Type       string      `json:"type"`
	Label      string      `json:"label"`
	Query      string      `json:"query"`
	Datasource *datasource `json:"datasource"`
	Refresh    int         `json:"refresh"`
	Multi      bool        `json:"multi"`
	IncludeAll bool        `json:"includeAll"`
	Hide       int         `json:"hide"`
	Sort       int         `json:"sort"`
}

type datasource struct {
	Type string `json:"type"`
	UID  string `json:"uid"`
}

type panel struct {
	ID          int         `json:"id"`
	Type        string      `json:"type"`
	Title       string      `json:"title"`
	Description string      `json:"description"`
	Datasource  *datasource `json:"datasource"`
	GridPos     place       `json:"gridPos"`
	Targets     []target    `json:"targets"`
	FieldConfig struct {
		Defaults struct {
			Unit string   `json:"unit"`
			Min  *float64 `json:"min"`
		} `json:"defaults"`
		Overrides []struct{} `json:"overrides"`
	} `json:"fieldConfig"`
	Options struct {
		Legend struct {
			DisplayMode string   `json:"displayMode"`
			Placement   string   `json:"placement"`
			Calcs       []string `json:"calcs"`
		} `json:"legend"`
		Tooltip struct {
			Mode string `json:"mode"`
			Sort string `json:"sort"`
		} `json:"tooltip"`
	} `json:"options"`
}

// place is where a panel is, in a grid of 24 columns.
type place struct{ X, Y, W, H int }

func (p place) overlaps(o place) bool {
	return p.X < o.X+o.W && o.X < p.X+p.W && p.Y < o.Y+o.H && o.Y < p.Y+p.H
}

type target struct {
	RefID        string      `json:"refId"`
	Datasource   *datasource `json:"datasource"`
	Expr         string      `json:"expr"`
	LegendFormat string      `json:"legendFormat"`
	Instant      bool        `json:"instant"`
	Format       string      `json:"format"`
}

func readDashboard(t *testing.T) (d dashboard) {
	t.Helper()
	text, err := os.ReadFile("../../deploy/grafana/repacket.json")
	if err != nil {
		t.Fatal(err)
	}
	decoder := json.NewDecoder(bytes.NewReader(text))
	decoder.DisallowUnknownFields()
	if err := decoder.Decode(&d); err != nil {
		t.Fatal(err)
	}
	return d
}

// TestDashboardSchema: panels have numbers and places of their own, kinds and units that Grafana knows,
// and the data source that is chosen above them.
func TestDashboardSchema(t *testing.T) {
	t.Parallel()
	d := readDashboard(t)
	if d.UID == "" || d.Title == "" || d.SchemaVersion != 39 || len(d.Panels) == 0 {
		t.Errorf("%+v", d)
	}
	variables := []string{}
	for _, v := range d.Templating.List {
		variables = append(variables, v.Name)
		if !slices.Contains([]string{"datasource", "query"}, v.Type) || v.Query == "" || v.Type == "query" && (v.Datasource == nil || v.Refresh != 2) {
			t.Errorf("variable %+v", v)
		}
	}
	if !slices.Equal(variables, []string{"datasource", "instance", "interface"}) {
		t.Errorf("the variables are %q", variables)
	}
	chosen := datasource{"prometheus", "${datasource}"}
	for i, p := range d.Panels {
		for _, other := range d.Panels[:i] {
			if other.ID == p.ID || other.GridPos.overlaps(p.GridPos) {
				t.Errorf("%s and %s have one number or place", p.Title, other.Title)
			}
		}
		if g := p.GridPos; g.X < 0 || g.W < 1 || g.X+g.W > 24 || g.Y < 0 || g.H < 3 {
			t.Errorf("%s is at %+v", p.Title, g)
		}
		if !slices.Contains([]string{"stat", "timeseries", "table"}, p.Type) || !slices.Contains([]string{"pps", "Bps", "cps", "short"}, p.FieldConfig.Defaults.Unit) {
			t.Errorf("%s: kind %q, unit %q", p.Title, p.Type, p.FieldConfig.Defaults.Unit)
		}
		if p.Datasource == nil || *p.Datasource != chosen || p.Title == "" || p.Description == "" || len(p.Targets) == 0 {
			t.Errorf("%+v", p)
		}
		for n, q := range p.Targets {
			if q.RefID != string(rune('A'+n)) || q.Datasource == nil || *q.Datasource != chosen || q.Expr == "" || (p.Type == "table") != (q.Format == "table") {
				t.Errorf("%s: %+v", p.Title, q)
			}
		}
	}
}

// names are metrics in a query; label names of ours begin otherwise.
var names = regexp.MustCompile(`\brepacket_\w+`)

// TestDashboardMetrics: queries name metrics that there are, and all of them; counters are asked for
// their rate, and labels that are named are there.
func TestDashboardMetrics(t *testing.T) {
	t.Parallel()
	there := map[string]string{} // the labels, by metric
	for key := range samples(t, written(t, example())) {
		name, labels, _ := strings.Cut(key, " ")
		there[name] = labels + ` instance=""`
	}
	asked := map[string]bool{}
	var queries []string
	d := readDashboard(t)
	for _, v := range d.Templating.List {
		queries = append(queries, v.Query)
	}
	for _, p := range d.Panels {
		for _, q := range p.Targets {
			queries = append(queries, q.Expr)
			name := names.FindString(q.Expr)
			if counter := strings.HasSuffix(name, "_total"); counter != strings.Contains(q.Expr, "rate("+name) {
				t.Errorf("%s: a rate is for counters, and counters for rates: %s", p.Title, q.Expr)
			}
			of := regexp.MustCompile(`by \(([^)]*)\)`).FindStringSubmatch(q.Expr)
			if of == nil {
				continue
			}
			for label := range strings.SplitSeq(of[1], ", ") {
				if !strings.Contains(" "+there[name], " "+label+"=") {
					t.Errorf("%s: %s has no label %s", p.Title, name, label)
				}
			}
			for _, m := range regexp.MustCompile(`\{\{(\w+)\}\}`).FindAllStringSubmatch(q.LegendFormat, -1) {
				if !slices.Contains(strings.Split(of[1], ", "), m[1]) {
					t.Errorf("%s: the legend names %s, and the query does not keep it", p.Title, m[1])
				}
			}
		}
	}
	for _, q := range queries {
		for _, name := range names.FindAllString(q, -1) {
			if asked[name] = true; there[name] == "" {
				t.Errorf("%s: there is no %s", q, name)
			}
		}
	}
	for name := range there {
		if !asked[name] {
			t.Errorf("no query asks for %s", name)
		}
	}
}
