package check

import readinessv1 "github.com/securly/sync/proto/gen/securly/sync/readiness/v1"

// The products that a check can be meant for in particular.
const (
	home   = "home"
	onCall = "on-call"
)

var products = []struct{ id, name string }{
	{"ai-chat", "AI Chat"},
	{"aware", "Aware"},
	{"classroom", "Classroom"},
	{"discern", "Discern"},
	{"filter", "Filter"},
	{"flex", "Flex"},
	{home, "Home"},
	{onCall, "On-Call"},
	{"pass", "Pass"},
	{"reveal", "Reveal"},
	{"rhithm", "Rhithm"},
}

// Products returns the products in the order to show them.
func Products() []*readinessv1.Product {
	out := make([]*readinessv1.Product, len(products))
	for i, p := range products {
		out[i] = &readinessv1.Product{ProductId: p.id, DisplayName: p.name}
	}
	return out
}

// IsProduct tells whether there is a product of that id.
func IsProduct(id string) bool {
	for _, p := range products {
		if p.id == id {
			return true
		}
	}
	return false
}

func productIDs() []string {
	ids := make([]string, len(products))
	for i, p := range products {
		ids[i] = p.id
	}
	return ids
}
