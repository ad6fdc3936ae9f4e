package pack

import (
	"bytes"
	"encoding/json"
	"fmt"
	"strings"
	"time"

	"github.com/opencontainers/go-digest"

	"bryo/fsroot/order"
)

// object is a part of a configuration. What is not known of one stays as it is.
type object map[string]any

// configuration says what the image is that is made of another one, whose
// configuration is base, or of nothing. Images of any age may have null where
// there is nothing.
func configuration(base []byte, o *order.Pack, diffIDs []digest.Digest, created time.Time) ([]byte, error) {
	image := object{}
	if base != nil {
		in := json.NewDecoder(bytes.NewReader(base))
		in.UseNumber()
		if err := in.Decode(&image); err != nil {
			return nil, fmt.Errorf("the configuration of the image below: %w", err)
		}
	}
	if image == nil {
		image = object{}
	}
	for key, value := range map[string]string{"architecture": o.Architecture, "os": o.OS, "variant": o.Variant} {
		if _, has := image[key]; value != "" && !has {
			image[key] = value
		}
	}
	image["created"] = created.UTC().Format(time.RFC3339Nano)
	image["rootfs"] = object{"type": "layers", "diff_ids": diffIDs}
	image["history"] = history(image, o, len(diffIDs))
	image["config"] = changed(image.object("config"), &o.Config)
	for _, key := range []string{"container_config", "container", "id", "parent"} { // of docker's older ones, about another image
		delete(image, key)
	}
	return json.Marshal(image)
}

// history has as many layers as there are: that of the image below only counts
// where its layers are as they were.
func history(image object, o *order.Pack, layers int) []any {
	below, _ := image["history"].([]any)
	if len(o.Kept) == 0 {
		below = nil
	} else {
		layers -= len(o.Kept)
	}
	for range layers {
		below = append(below, object{"created": image["created"], "created_by": "bryo pack"})
	}
	return below
}

func (o object) object(key string) object {
	if of, is := o[key].(map[string]any); is {
		return of
	}
	return object{}
}

// changed makes an image's word another one. An entrypoint of one's own makes
// arguments of the image below meaningless, as in a Dockerfile.
func changed(config object, c *order.Config) object {
	for key, value := range map[string]string{"User": c.User, "WorkingDir": c.WorkingDir, "StopSignal": c.StopSignal} {
		if value != "" {
			config[key] = value
		}
	}
	if c.Entrypoint != nil {
		config["Entrypoint"] = c.Entrypoint
		delete(config, "Cmd")
	}
	if c.Cmd != nil {
		config["Cmd"] = c.Cmd
	}
	if len(c.Env) > 0 {
		config["Env"] = joined(config["Env"], c.Env)
	}
	labels := config.object("Labels")
	for key, value := range c.Labels {
		labels[key] = value
	}
	ports, volumes := config.object("ExposedPorts"), config.object("Volumes")
	for _, port := range c.Ports {
		ports[port] = object{}
	}
	for _, volume := range c.Volumes {
		volumes[volume] = object{}
	}
	for key, of := range map[string]object{"Labels": labels, "ExposedPorts": ports, "Volumes": volumes} {
		if len(of) > 0 {
			config[key] = of
		}
	}
	return config
}

// joined are variables in the order in which they were set first.
func joined(below any, added []string) []string {
	values := map[string]string{}
	var keys []string
	set := func(variable string) {
		key, value, _ := strings.Cut(variable, "=")
		if _, known := values[key]; !known {
			keys = append(keys, key)
		}
		values[key] = value
	}
	list, _ := below.([]any)
	for _, variable := range list {
		if text, is := variable.(string); is {
			set(text)
		}
	}
	for _, variable := range added {
		set(variable)
	}
	env := make([]string, len(keys))
	for i, key := range keys {
		env[i] = key + "=" + values[key]
	}
	return env
}
