package normalise

import (
	"strings"
	"time"

	"github.com/securly/sync/services/ingest/internal/csvtext"
	"github.com/securly/sync/services/platform/record"
)

// date reads a day in any of the usual forms and writes it as ISO 8601. A
// blank or all-zero date is no value.
func date(s string) (string, bool) {
	if len(s) == 10 && s[4] == '-' && s[7] == '-' {
		if validDay(s) {
			return s, true
		}
		return "", s == "0000-00-00"
	}
	if s == "" {
		return "", true
	}
	if t, ok := anyTime(s); ok {
		return t.Format(time.DateOnly), true
	}
	return "", false
}

// validDay checks YYYY-MM-DD without allocating; it is the hot case.
func validDay(s string) bool {
	year, ok1 := digits(s[0:4])
	month, ok2 := digits(s[5:7])
	day, ok3 := digits(s[8:10])
	if !ok1 || !ok2 || !ok3 || year == 0 || month < 1 || month > 12 || day < 1 {
		return false
	}
	return day <= 28 || day <= time.Date(year, time.Month(month)+1, 0, 0, 0, 0, 0, time.UTC).Day()
}

func digits(s string) (int, bool) {
	n := 0
	for i := range len(s) {
		c := s[i] - '0'
		if c > 9 {
			return 0, false
		}
		n = n*10 + int(c)
	}
	return n, true
}

// modified reads a time stamp and writes it in record.TimeFormat. A time
// without a zone is taken as UTC.
func modified(s string) (string, bool) {
	if len(s) == len(record.TimeFormat) && s[10] == 'T' && s[13] == ':' && s[16] == ':' && s[19] == '.' && s[23] == 'Z' && s[4] == '-' && s[7] == '-' {
		hour, ok1 := digits(s[11:13])
		minute, ok2 := digits(s[14:16])
		second, ok3 := digits(s[17:19])
		_, ok4 := digits(s[20:23])
		if ok1 && ok2 && ok3 && ok4 && hour < 24 && minute < 60 && second < 60 && validDay(s[:10]) {
			return s, true
		}
		return "", false
	}
	if s == "" {
		return "", true
	}
	if t, ok := anyTime(s); ok {
		return t.UTC().Format(record.TimeFormat), true
	}
	return "", false
}

// The forms seen in the field. Of a date with slashes the month comes first,
// as it is written in the United States.
var timeLayouts = []string{
	time.RFC3339, "2006-01-02T15:04:05", "2006-01-02T15:04", "2006-01-02 15:04:05", "2006-01-02 15:04", "2006-01-02 15:04:05Z07:00",
	"2006-01-02T15:04:05Z0700", time.DateOnly, "2006/1/2", "2006-1-2", "1/2/2006", "1-2-2006", "1/2/2006 15:04", "1/2/2006 15:04:05",
	"1/2/2006 3:04 PM", "1/2/2006 3:04:05 PM", "20060102", "2 Jan 2006", "2-Jan-2006", "Jan 2, 2006",
}

func anyTime(s string) (time.Time, bool) {
	if len(s) > 40 {
		return time.Time{}, false
	}
	for _, layout := range timeLayouts {
		if t, err := time.Parse(layout, s); err == nil && t.Year() > 0 {
			return t, true
		}
	}
	return time.Time{}, false
}

var (
	yes = true
	no  = false
)

// boolean reads a flag; nil is no value. The result is shared: do not write to it.
func boolean(s string) (*bool, bool) {
	switch s {
	case "":
		return nil, true
	case "true":
		return &yes, true
	case "false":
		return &no, true
	}
	switch strings.ToLower(s) {
	case "true", "1", "y", "yes", "t":
		return &yes, true
	case "false", "0", "n", "no", "f":
		return &no, true
	}
	return nil, false
}

// email accepts what could be an address and keeps it as it is.
func email(s string) bool {
	at := strings.IndexByte(s, '@')
	return at > 0 && at < len(s)-1 && strings.IndexByte(s[at+1:], '@') < 0 && !strings.ContainsAny(s, " \t,;<>\"")
}

// year reads the year in which a school year ends: "2027", "2026-2027", "2026-27".
func year(s string) (string, bool) {
	if s == "" {
		return "", true
	}
	if n, ok := digits(s); ok && len(s) == 4 && n > 0 {
		return s, true
	}
	first, last, ok := strings.Cut(strings.ReplaceAll(s, "/", "-"), "-")
	first, last = strings.TrimSpace(first), strings.TrimSpace(last)
	if !ok || len(first) != 4 {
		return "", false
	}
	if len(last) == 2 {
		last = first[:2] + last
	}
	_, ok1 := digits(first)
	_, ok2 := digits(last)
	return last, ok1 && ok2 && len(last) == 4
}

// list splits a list of values in one cell.
func list(s string) []string {
	if s == "" {
		return nil
	}
	if strings.IndexByte(s, ',') < 0 {
		return []string{s}
	}
	out := make([]string, 0, strings.Count(s, ",")+1)
	for part := range strings.SplitSeq(s, ",") {
		if part = csvtext.Clean(part); part != "" {
			out = append(out, part)
		}
	}
	return out
}

// vocabulary maps folded tokens to their canonical form.
type vocabulary map[string]string

func words(tokens ...string) vocabulary {
	v := vocabulary{}
	for _, t := range tokens {
		v[csvtext.Fold(t)] = t
	}
	return v
}

// token returns the canonical form. known is false when the vocabulary has no
// such token; it is then kept as it is.
func (v vocabulary) token(s string) (canonical string, known bool) {
	if s == "" {
		return "", true
	}
	// Most cells hold the canonical form already.
	if c, ok := v[s]; ok && c == s {
		return s, true
	}
	if c, ok := v[csvtext.Fold(s)]; ok {
		return c, true
	}
	if len(s) > 4 && strings.EqualFold(s[:4], "ext:") {
		return s, true
	}
	return s, false
}

// The vocabularies of both versions (OneRoster spec §6).
var (
	orgTypes     = words("department", "school", "district", "local", "state", "national")
	sessionTypes = words("gradingPeriod", "semester", "schoolYear", "term")
	classTypes   = words("homeroom", "scheduled")
	sexes        = words("male", "female", "unspecified", "other")
	roleTypes    = words("primary", "secondary")
	roles        = words("administrator", "aide", "counselor", "districtAdministrator", "guardian", "parent", "principal",
		"proctor", "relative", "siteAdministrator", "student", "systemAdministrator", "teacher")
	// Words that stand for a role without doubt.
	roleSynonyms = vocabulary{
		"pupil": "student", "learner": "student",
		"instructor": "teacher", "primaryteacher": "teacher", "coteacher": "teacher", "substitute": "teacher",
		"paraprofessional": "aide", "teacherassistant": "aide",
		"admin": "administrator", "invigilator": "proctor", "mother": "parent", "father": "parent",
	}
	gradeNames = gradeTable()
)

func gradeTable() vocabulary {
	v := words("IT", "PR", "PK", "TK", "KG", "PS", "UG", "Other", "ABE", "ASE", "AdultESL", "13")
	for _, n := range []string{"01", "02", "03", "04", "05", "06", "07", "08", "09", "10", "11", "12"} {
		plain := strings.TrimPrefix(n, "0")
		v[n], v[plain], v["grade"+plain], v["grade"+n] = n, n, n, n
		suffix := "th"
		switch plain {
		case "1":
			suffix = "st"
		case "2":
			suffix = "nd"
		case "3":
			suffix = "rd"
		}
		v[plain+suffix], v[plain+suffix+"grade"] = n, n
	}
	for _, k := range []string{"k", "kf", "kh", "ka", "kp", "0", "00", "kindergarten"} {
		v[k] = "KG"
	}
	for _, p := range []string{"p", "pk3", "pk4", "prek", "prekindergarten"} {
		v[p] = "PK"
	}
	return v
}

// Grade normalises one grade as a person writes it; an unknown one is kept.
func Grade(s string) (normal string, known bool) { return grade(s) }

// grade normalises one grade (OneRoster spec §6); an unknown one is kept.
func grade(s string) (string, bool) {
	if s == "-1" || s == "-2" {
		return "PK", true
	}
	if c, ok := gradeNames[s]; ok {
		return c, true
	}
	c, ok := gradeNames[csvtext.Fold(s)]
	if !ok {
		return s, false
	}
	return c, true
}
