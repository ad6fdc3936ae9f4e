package main

func runUnshare(args []string, s streams) int { return exitFailed }
