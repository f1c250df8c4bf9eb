package main

import "github.com/urfave/cli/v3"

func commands() []*cli.Command {
	return []*cli.Command{
		rackCommand(),
		runCommand(),
		createCommand(),
		complete(startCommand(), many, vnodesThat(atRest)),
		complete(stopCommand(), many, vnodesThat(running)),
		complete(killCommand(), many, vnodesThat(running)),
		complete(rmCommand(), many, vnodesThat(atRest)),
		psCommand(),
		complete(inspectCommand(), 1, vnodesThat(anyVNode)),
		eventsCommand(),
		vregionCommand(),
		rebalanceCommand(),
		imageCommand(),
		volumeCommand(),
		complete(execCommand(), 1, andHere(running)),
		cpCommand(),
		complete(consoleCommand(), 1, andHere(running)),
		complete(logsCommand(), 1, andHere(anyVNode)),
		complete(statsCommand(), 1, andHere(running)),
		topCommand(),
		complete(resizeCommand(), 1, andHere(running)),
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
		Name:  "monitor",
		Usage: "be a monitor of the rack, or list them",
		Description: `A rack is one or three global monitors, and a processor, memory or storage monitor on
each host that has something to give. On this host alone, ` + "`splitvm rack up`" + ` starts one of each.

Examples:
   splitvm monitor global --listen 10.0.0.1:7400 --data /var/lib/splitvm/global
   splitvm monitor memory --global 10.0.0.1:7400 --listen 10.0.0.7:7070 --mem 64G
   splitvm monitor ls --global 10.0.0.1:7400`,
		Commands: []*cli.Command{monitorGlobalCommand(), monitorProcessorCommand(), monitorMemoryCommand(), monitorStorageCommand(), monitorNetworkCommand(), monitorLsCommand(), complete(monitorDrainCommand(), 1, monitorsThat(drains)), complete(monitorRmCommand(), 1, monitorsThat(absent))},
	}
}
