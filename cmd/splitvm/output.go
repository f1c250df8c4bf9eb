package main

import (
	"encoding/json"
	"fmt"
	"io"
	"strings"
	"text/tabwriter"

	"github.com/goccy/go-yaml"
	"github.com/urfave/cli/v3"
)

// outputFlag is the -o of everything that lists.
func outputFlag() cli.Flag { return outputBy("table") }

// outputBy is an -o whose default is another one.
func outputBy(format string) cli.Flag {
	return &cli.StringFlag{
		Name: "output", Aliases: []string{"o"}, Value: format, Usage: "print as `FORMAT`: table, json or yaml",
		Validator: func(s string) error {
			if s != "table" && s != "json" && s != "yaml" {
				return fmt.Errorf("unknown output format %q; use table, json or yaml", s)
			}
			return nil
		},
	}
}

// table is rows of cells under headings, for people.
type table struct {
	head []string
	rows [][]string
}

// print writes value in the format that -o asks for; t shows the same as a table.
func print(c *cli.Command, value any, t table) error {
	w := c.Root().Writer
	switch c.String("output") {
	case "json":
		enc := json.NewEncoder(w)
		enc.SetIndent("", "  ")
		return enc.Encode(value)
	case "yaml":
		out, err := yaml.MarshalWithOptions(value, yaml.UseJSONMarshaler())
		if err != nil {
			return err
		}
		_, err = w.Write(out)
		return err
	}
	return t.write(w)
}

func (t table) write(w io.Writer) error {
	tw := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	fmt.Fprintln(tw, strings.Join(t.head, "\t"))
	for _, r := range t.rows {
		fmt.Fprintln(tw, strings.Join(r, "\t"))
	}
	return tw.Flush()
}
