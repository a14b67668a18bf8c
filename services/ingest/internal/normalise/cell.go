package normalise

// What readers of other files share with those of OneRoster, so that a cell
// means the same everywhere.

// Boolean reads a flag; nil is no value, false an unknown one. Do not write to
// the result.
func Boolean(s string) (*bool, bool) { return boolean(s) }

// Email tells whether a value could be an address.
func Email(s string) bool { return email(s) }
