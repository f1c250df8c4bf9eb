package main

import "github.com/urfave/cli/v3"

func commands() []*cli.Command {
	return []*cli.Command{
		rackCommand(),
		runCommand(),
		createCommand(),
		startCommand(),
		stopCommand(),
		killCommand(),
		rmCommand(),
		psCommand(),
		inspectCommand(),
		eventsCommand(),
		vregionCommand(),
		rebalanceCommand(),
		imageCommand(),
		volumeCommand(),
		execCommand(),
		cpCommand(),
		consoleCommand(),
		logsCommand(),
		statsCommand(),
		topCommand(),
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
		Usage:    "be a monitor of the rack, or list them",
		Commands: []*cli.Command{monitorGlobalCommand(), monitorProcessorCommand(), monitorMemoryCommand(), monitorStorageCommand(), monitorNetworkCommand(), monitorLsCommand(), monitorDrainCommand()},
	}
}
