package csvtext

import "strings"

// Clean trims a cell and reads the literal NULL, which exports of databases
// write for no value, as blank.
func Clean(s string) string {
	if len(s) > 0 && (s[0] <= ' ' || s[len(s)-1] <= ' ' || s[0] >= 0x80 || s[len(s)-1] >= 0x80) {
		s = strings.TrimSpace(s)
	}
	if s == "NULL" {
		return ""
	}
	return s
}

// Fold makes a token comparable: lower case, without the characters that
// people put between and around words.
func Fold(s string) string {
	return strings.Map(func(r rune) rune {
		switch {
		case r >= 'A' && r <= 'Z':
			return r + 'a' - 'A'
		case r <= ' ', r == '_', r == '-', r == '"', r == '\'', r == 0x7f, invisible(r):
			return -1
		}
		return r
	}, s)
}

// Visible trims the name of a column and drops what cannot be seen in it.
func Visible(s string) string {
	return strings.TrimSpace(strings.Map(func(r rune) rune {
		if r < ' ' || r == 0x7f || invisible(r) && r != 0xA0 {
			return -1
		}
		if r == 0xA0 {
			return ' '
		}
		return r
	}, s))
}

// invisible characters end up in headers when a file went through an office
// program: byte order marks, non-breaking and zero-width spaces.
func invisible(r rune) bool {
	switch r {
	case 0x85, 0xA0, 0xAD, 0x1680, 0x2028, 0x2029, 0x202F, 0x205F, 0x2060, 0x3000, 0xFEFF:
		return true
	}
	return r >= 0x2000 && r <= 0x200F
}

// Secret tells by its name that a column holds passwords, which nobody keeps.
func Secret(name string) bool {
	name = Fold(name)
	return strings.Contains(name, "password") || strings.Contains(name, "passwd")
}
