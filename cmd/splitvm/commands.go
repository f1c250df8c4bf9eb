package main

import "github.com/urfave/cli/v3"

func commands() []*cli.Command {
	return []*cli.Command{
		runCommand(),
		imageCommand(),
		volumeCommand(),
		execCommand(),
		cpCommand(),
		consoleCommand(),
		logsCommand(),
		statsCommand(),
		resizeCommand(),
		monitorCommand(),
		pagerCommand(),
		benchCommand(),
		doctorCommand(),
		syscallsCommand(),
		versionCommand(),
	}
}

func monitorCommand() *cli.Command {
	return &cli.Command{
		Name:     "monitor",
		Usage:    "be a monitor of the rack",
		Commands: []*cli.Command{monitorMemoryCommand(), monitorStorageCommand()},
	}
}
