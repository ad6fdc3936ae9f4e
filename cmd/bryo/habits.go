package main

// What people type who know podman or docker, and bryo has under another name. A
// guess from the letters alone would lead them astray: push is not pause.

// otherVerbs has what does the work of a command that bryo does not have.
func otherVerbs() map[string]string {
	const login = "podman login or docker login, which bryo pull heeds"
	const archive = "bryo pack CONTAINER FILE.tar, or bryo pack ROOT FILE.tar"
	const images = "bryo images, pull, tag or rmi; bryo prune --images"
	const add = "bryo pull FILE, or bryo pull - from a pipe"
	return map[string]string{
		"build":     "bryo run --save NAME IMAGE COMMAND makes an image of what a command writes",
		"commit":    "bryo pack CONTAINER FILE.tar and bryo pull FILE.tar; bryo run --save NAME IMAGE COMMAND does both",
		"container": "bryo ps, or the command itself, as in bryo rm CONTAINER",
		"create":    "bryo run -d",
		"export":    archive,
		"image":     images,
		"import":    add,
		"info":      "bryo doctor",
		"load":      add,
		"login":     login,
		"logout":    login,
		"ls":        "bryo ps, or bryo images",
		"network":   "bryo run --net join:CONTAINER shares a network; --allow and --deny rule it",
		"push":      "bryo pack CONTAINER oci:DIR:TAG, then skopeo copy oci:DIR:TAG docker://NAME",
		"save":      archive,
		"system":    "bryo prune, bryo prune --images, or bryo doctor",
		"volume":    "bryo run -v ./DIRECTORY:/PATH; bryo prune --volumes removes those of images",
	}
}

// otherFlag has what does the work of a flag that a command does not have, "" if
// nothing is known of it.
func otherFlag(verb, name string) string {
	first := func(flag string) string { return "bryo pull --" + flag + " IMAGE first, then bryo run IMAGE" }
	const asJSON, sift = "--json", "--json, and jq(1)"
	run := map[string]string{
		"expose":       "-p PORT, which publishes it",
		"gpus":         "--device",
		"log-driver":   "--log-format",
		"platform":     first("platform OS/ARCH"),
		"q":            first("quiet"),
		"quiet":        first("quiet"),
		"replace":      "bryo rm -f NAME first",
		"security-opt": "--seccomp, --landlock or --allow-new-privs; no_new_privs is the default",
		"stop-timeout": "bryo stop --time SECONDS",
		"timeout":      "timeout SECONDS bryo run ...",
		"tls-verify":   first("tls-verify=false"),
		"tz":           "-e TZ=ZONE",
	}
	const all, everything = "leave it out: all are listed", "bryo prune --images --all"
	return map[string]map[string]string{
		"explain": run,
		"images":  {"a": all, "all": all, "format": asJSON, "filter": sift},
		"ps":      {"format": asJSON, "filter": sift},
		"rmi":     {"a": everything, "all": everything},
		"run":     run,
	}[verb][name]
}
