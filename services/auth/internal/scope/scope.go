// Package scope knows the OAuth2 scopes of the hub and what a request for some of them gets.
package scope

import (
	"slices"
	"strings"
)

// Scopes of services among themselves. No client can be given them.
const (
	InternalImport   = "internal.import"
	InternalSessions = "internal.sessions"
	InternalOperate  = "internal.operate"
)

// Scopes that the hub's own API asks for.
const (
	DistrictsRead  = "districts.read"
	DistrictsWrite = "districts.write"
	SourcesRead    = "sources.read"
	SourcesWrite   = "sources.write"
	SyncsRun       = "syncs.run"
	SyncsApprove   = "syncs.approve"
	RostersRead    = "rosters.read"
	ReadinessRead  = "readiness.read"
	ReadinessRun   = "readiness.run"
	ProductsRead   = "products.read"
	ProductsWrite  = "products.write"
	UsersManage    = "users.manage"
	AuditRead      = "audit.read"
)

// oneRoster begins every scope of the OneRoster standard. Consumers also write it with http.
const (
	oneRoster     = "https://purl.imsglobal.org/spec/or/"
	oneRosterHTTP = "http://purl.imsglobal.org/spec/or/"
)

// Operator returns every scope of the hub's own API: what an operator may do.
func Operator() []string {
	return []string{
		DistrictsRead, DistrictsWrite, SourcesRead, SourcesWrite, SyncsRun, SyncsApprove, RostersRead,
		ReadinessRead, ReadinessRun, ProductsRead, ProductsWrite, UsersManage, AuditRead,
	}
}

// All returns every scope that a client can have: those of the operator and the read-only
// rostering scopes of the OneRoster provider, in both versions.
func All() []string {
	all := Operator()
	for _, version := range []string{"v1p1", "v1p2"} {
		for _, name := range []string{"roster-core", "roster", "roster-demographics"} {
			all = append(all, oneRoster+version+"/scope/"+name+".readonly")
		}
	}
	return all
}

// Canonical returns s as All spells it.
func Canonical(s string) string {
	if rest, ok := strings.CutPrefix(s, oneRosterHTTP); ok {
		return oneRoster + rest
	}
	return s
}

// Known tells whether a client can be given s.
func Known(s string) bool { return slices.Contains(All(), s) }

// Grant returns those of the requested scopes, space separated, that are allowed, in the order of
// the request and each once. Others are left out: consumers of rosters ask for more than a hub
// has, and expect the rest. An empty request means all that is allowed.
func Grant(requested string, allowed []string) []string {
	words := strings.Fields(requested)
	if len(words) == 0 {
		return allowed
	}
	var granted []string
	for _, w := range words {
		w = Canonical(w)
		if slices.Contains(allowed, w) && !slices.Contains(granted, w) {
			granted = append(granted, w)
		}
	}
	return granted
}
