package rootless

import (
	"fmt"

	"bryo/idmap"
)

// noteWarnings compares the map of ids that a root file system was unpacked under
// with the one that it shall run under. It is silent if its owners are the same. What is
// noted may be anybody's word.
func noteWarnings(unsafeNote string, maps idmap.Maps) []string {
	noted, err := idmap.ParseMaps(unsafeNote)
	if err == nil && noted.RootAlone() && !maps.RootAlone() {
		return []string{"this root was unpacked with one id: its files are root's, and whose else they are meant to be only --userns single shows; say that, or unpack it again"}
	}
	if err != nil || maps.UID.Includes(noted.UID) && maps.GID.Includes(noted.GID) {
		return nil
	}
	return []string{fmt.Sprintf("files have other owners than meant: this root was unpacked with the id map %s, and now it is %s; unpack it again, or say the same --userns", noted.UID.Text(), maps.UID.Text())}
}
