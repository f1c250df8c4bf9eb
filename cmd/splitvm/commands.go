package main

import "github.com/urfave/cli/v3"

func commands() []*cli.Command {
	return []*cli.Command{
		runCommand(),
		doctorCommand(),
		syscallsCommand(),
	}
}
