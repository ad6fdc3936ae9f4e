package shelf

import (
	"encoding/json"
	"fmt"
	"runtime"
	"time"

	"bryo/fsroot/image"
)

// configuration is the part of an image's configuration that the shelf keeps in
// its record.
type configuration struct {
	image.Platform

	Created time.Time    `json:"created"`
	Config  image.Config `json:"config"`
}

func readConfig(data []byte) (*image.Image, error) {
	var c configuration
	if err := json.Unmarshal(data, &c); err != nil {
		return nil, fmt.Errorf("the image's configuration: %w", err)
	}
	if err := c.Config.Check(); err != nil {
		return nil, err
	}
	return &image.Image{Created: c.Created, Platform: c.Platform, Config: c.Config}, nil
}

// configOf makes the configuration of an image of one layer, which is the same
// for the same layer.
func configOf(diffID string) ([]byte, error) {
	type rootFS struct {
		Type    string   `json:"type"`
		DiffIDs []string `json:"diff_ids"`
	}
	return json.Marshal(struct {
		image.Platform

		Config struct{} `json:"config"`
		RootFS rootFS   `json:"rootfs"`
	}{image.Platform{OS: "linux", Architecture: runtime.GOARCH}, struct{}{}, rootFS{"layers", []string{diffID}}})
}
