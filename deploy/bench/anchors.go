package main

import (
	"context"
	"database/sql"
	"encoding/csv"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"

	_ "github.com/duckdb/duckdb-go/v2" // the anchor of the readiness rows
)

// The seven files of the yardstick district, OneRoster 1.1.
var files = []string{"orgs", "academicSessions", "courses", "classes", "users", "enrollments", "demographics"}

// readCSV reads every cell of all files with encoding/csv and returns the rows.
func readCSV(dir string) (time.Duration, int, error) {
	start, rows := time.Now(), 0
	for _, name := range files {
		f, err := os.Open(filepath.Join(dir, name+".csv"))
		if err != nil {
			return 0, 0, err
		}
		r := csv.NewReader(f)
		r.ReuseRecord = true
		for {
			_, err := r.Read()
			if errors.Is(err, io.EOF) {
				break
			}
			if err != nil {
				return 0, 0, fmt.Errorf("read %s.csv: %w", name, err)
			}
			rows++
		}
		if err := f.Close(); err != nil {
			return 0, 0, err
		}
	}
	return time.Since(start), rows, nil
}

// indexes are the columns that product.md's Data Viewer searches by, per table.
var indexes = map[string][]string{
	"users":        {"role", "email", "orgSourcedIds", "status"},
	"enrollments":  {"role", "classSourcedId", "userSourcedId", "schoolSourcedId"},
	"classes":      {"schoolSourcedId"},
	"courses":      {"orgSourcedId"},
	"demographics": {},
}

// importSQLite imports all files with the sqlite3 shell into tables that have a
// primary key and the viewer's indexes.
func importSQLite(ctx context.Context, dir, scratch string) (time.Duration, error) {
	var script strings.Builder
	for _, name := range files {
		header, err := headerOf(dir, name)
		if err != nil {
			return 0, err
		}
		columns := make([]string, len(header))
		for i, h := range header {
			columns[i] = fmt.Sprintf("%q TEXT", h)
		}
		columns[0] += " PRIMARY KEY"
		fmt.Fprintf(&script, "CREATE TABLE %q (%s);\n", name, strings.Join(columns, ", "))
		for _, column := range indexes[name] {
			fmt.Fprintf(&script, "CREATE INDEX %q ON %q (%q);\n", name+"_"+column, name, column)
		}
		fmt.Fprintf(&script, ".import --csv --skip 1 %s %s\n", filepath.Join(dir, name+".csv"), name)
	}
	db := filepath.Join(scratch, "anchor.sqlite")
	defer os.Remove(db)
	cmd := exec.CommandContext(ctx, "sqlite3", "-bail", db)
	cmd.Stdin = strings.NewReader(script.String())
	start := time.Now()
	if out, err := cmd.CombinedOutput(); err != nil {
		return 0, fmt.Errorf("import with sqlite3: %w: %s", err, out)
	}
	return time.Since(start), nil
}

func headerOf(dir, name string) ([]string, error) {
	f, err := os.Open(filepath.Join(dir, name+".csv"))
	if err != nil {
		return nil, err
	}
	defer f.Close()
	return csv.NewReader(f).Read()
}

// queries are the twelve checks of the readiness report as one would write them in SQL.
var queries = []string{
	`SELECT count(*) FROM users WHERE role='student' AND coalesce(email,'')=''`,
	`SELECT count(*) FROM users s WHERE role='student'
	   AND sourcedId NOT IN (SELECT student FROM links) `,
	`SELECT count(*) FROM users WHERE role='student' AND lower(email) IN
	   (SELECT lower(email) FROM users WHERE role='student' AND email<>'' GROUP BY 1 HAVING count(DISTINCT coalesce(identifier, sourcedId))>1)`,
	`SELECT count(*) FROM users WHERE role='teacher' AND lower(email) IN
	   (SELECT lower(email) FROM users WHERE role='teacher' AND email<>'' GROUP BY 1 HAVING count(*)>1)`,
	`SELECT count(*) FROM users WHERE role='administrator' AND lower(email) IN
	   (SELECT lower(email) FROM users WHERE role='administrator' AND email<>'' GROUP BY 1 HAVING count(*)>1)`,
	`SELECT count(*) FROM links JOIN users g ON g.sourcedId=guardian
	   WHERE coalesce("metadata.address",'')='' AND coalesce("metadata.city",'')='' AND coalesce("metadata.zip",'')=''`,
	`SELECT count(*) FROM links JOIN users g ON g.sourcedId=guardian WHERE coalesce(g.email,'')=''`,
	`SELECT count(*) FROM classes WHERE coalesce(termSourcedIds,'')=''`,
	`SELECT count(*) FROM classes WHERE coalesce(courseSourcedId,'')=''`,
	`SELECT count(*) FROM (SELECT DISTINCT schoolSourcedId s FROM classes) WHERE s NOT IN (SELECT schoolSourcedId FROM enrollments WHERE role='teacher')`,
	`SELECT count(*) FROM (SELECT DISTINCT schoolSourcedId s FROM classes) WHERE s NOT IN (SELECT schoolSourcedId FROM enrollments WHERE role='student')`,
	`SELECT count(*) FROM enrollments WHERE endDate IS NULL OR endDate=''`,
}

// reportDuckDB loads all files into an in-memory DuckDB and runs the queries.
func reportDuckDB(ctx context.Context, dir string) (time.Duration, error) {
	start := time.Now()
	db, err := sql.Open("duckdb", "")
	if err != nil {
		return 0, fmt.Errorf("open DuckDB: %w", err)
	}
	defer db.Close()
	for _, name := range files {
		load := fmt.Sprintf("CREATE TABLE %s AS SELECT * FROM read_csv('%s', header=true, all_varchar=true)", name, filepath.Join(dir, name+".csv"))
		if _, err := db.ExecContext(ctx, load); err != nil {
			return 0, fmt.Errorf("load %s into DuckDB: %w", name, err)
		}
	}
	const links = `CREATE TABLE links AS SELECT DISTINCT student, guardian FROM (
	  SELECT sourcedId student, unnest(string_split(agentSourcedIds, ',')) guardian FROM users WHERE role='student' AND agentSourcedIds<>''
	  UNION ALL
	  SELECT unnest(string_split(agentSourcedIds, ',')), sourcedId FROM users WHERE role IN ('guardian','parent','relative') AND agentSourcedIds<>'')`
	if _, err := db.ExecContext(ctx, links); err != nil {
		return 0, fmt.Errorf("link guardians in DuckDB: %w", err)
	}
	for _, q := range queries {
		var n int
		if err := db.QueryRowContext(ctx, q).Scan(&n); err != nil {
			return 0, fmt.Errorf("query DuckDB: %w: %s", err, q)
		}
	}
	return time.Since(start), nil
}
