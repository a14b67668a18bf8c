// Package resourceid knows the form of the ids that people choose: of districts, sources and products.
// Ids of roster records are arbitrary text and none of them.
package resourceid

import "regexp"

// Form says in words what Valid accepts.
const Form = "must be 1 to 63 lower-case letters, digits and hyphens, and not begin with a hyphen"

var form = regexp.MustCompile(`^[a-z0-9][a-z0-9-]{0,62}$`)

// Valid reports whether id has the form. Such an id is safe in a path, in a subject of the event bus
// and as the name of a file.
func Valid(id string) bool { return form.MatchString(id) }
