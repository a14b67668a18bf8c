// Package sheet makes text from rosters safe for spreadsheets, which open the CSV files of the hub.
package sheet

import "strings"

// starts are what a spreadsheet takes for the beginning of a formula, or leaves out before one.
const starts = "=+-@\t\r\n"

// Guard keeps spreadsheets from taking a cell for a formula: whoever enters a name at a school could
// have it run something on the computer of who opens the file. It changes and returns row.
func Guard(row []string) []string {
	for i, cell := range row {
		if cell != "" && strings.IndexByte(starts, cell[0]) >= 0 {
			row[i] = "'" + cell
		}
	}
	return row
}
