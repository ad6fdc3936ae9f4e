package main

func runExplain(args []string, s streams) int { return exitFailed }
