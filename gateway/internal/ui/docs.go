package ui

import (
	"bytes"
	_ "embed"
	"encoding/json"
	"fmt"
	"html/template"
	"net/http"
	"slices"
	"strings"
)

//go:embed docs.html
var docsHTML string

var docsPage = template.Must(template.New("docs").Parse(docsHTML))

// Docs returns a page that lists the operations of an OpenAPI document.
func Docs(openAPI []byte) (http.Handler, error) {
	page, err := renderDocs(openAPI)
	if err != nil {
		return nil, err
	}
	return http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "text/html; charset=utf-8")
		w.Header().Set("Cache-Control", "no-cache")
		w.Write(page) //nolint:errcheck // the client is gone
	}), nil
}

type operation struct {
	Method, Path         string
	Summary, Description string
	Parameters           []parameter
	Body                 string
}

type parameter struct {
	Name        string
	In          string
	Description string
	Required    bool
}

type group struct {
	Name       string
	Operations []operation
}

func renderDocs(openAPI []byte) ([]byte, error) {
	var doc struct {
		Info  struct{ Title, Description string }
		Paths map[string]map[string]json.RawMessage
	}
	if err := json.Unmarshal(openAPI, &doc); err != nil {
		return nil, fmt.Errorf("read the OpenAPI document: %w", err)
	}
	groups := map[string]*group{}
	for path, methods := range doc.Paths {
		for method, text := range methods {
			if !slices.Contains([]string{"get", "post", "patch", "put", "delete"}, method) {
				continue
			}
			var op struct {
				operation
				Tags        []string
				RequestBody struct {
					Content map[string]json.RawMessage
				}
			}
			if err := json.Unmarshal(text, &op); err != nil {
				return nil, fmt.Errorf("read %s %s of the OpenAPI document: %w", method, path, err)
			}
			op.Method, op.Path = strings.ToUpper(method), path
			for kind := range op.RequestBody.Content {
				op.Body = kind
			}
			tag := "Other"
			if len(op.Tags) > 0 {
				tag = op.Tags[0]
			}
			if groups[tag] == nil {
				groups[tag] = &group{Name: tag}
			}
			groups[tag].Operations = append(groups[tag].Operations, op.operation)
		}
	}
	data := struct {
		Title, Description string
		Groups             []*group
	}{Title: doc.Info.Title, Description: doc.Info.Description}
	for _, g := range groups {
		slices.SortFunc(g.Operations, func(a, b operation) int {
			return strings.Compare(a.Path+" "+a.Method, b.Path+" "+b.Method)
		})
		data.Groups = append(data.Groups, g)
	}
	slices.SortFunc(data.Groups, func(a, b *group) int { return strings.Compare(a.Name, b.Name) })
	var page bytes.Buffer
	if err := docsPage.Execute(&page, data); err != nil {
		return nil, fmt.Errorf("write the documentation: %w", err)
	}
	return page.Bytes(), nil
}
